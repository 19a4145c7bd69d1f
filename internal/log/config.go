package log

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// The SASL mechanisms, as Kafka names them.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
)

// What the zero values of Config mean.
const (
	DefaultDialTimeout    = 5 * time.Second
	DefaultRequestTimeout = 15 * time.Second
	DefaultClientID       = "tidemill"
)

// Config says how to reach the brokers. Every client is built from one.
type Config struct {
	// Brokers are the host:port addresses to begin with; at least one.
	Brokers []string
	// ClientID names this client in the broker's logs and quotas; empty means
	// DefaultClientID.
	ClientID string
	// TLS encrypts connections.
	TLS TLS
	// SASL authenticates them.
	SASL SASL
	// DialTimeout bounds one attempt to connect, TLS included; 0 means
	// DefaultDialTimeout.
	DialTimeout time.Duration
	// RequestTimeout bounds every request with all its retries; 0 means
	// DefaultRequestTimeout.
	RequestTimeout time.Duration
	// Logger, where not nil, receives the clients' warnings and errors.
	Logger *slog.Logger
}

// TLS says how connections are encrypted. All files are PEM.
type TLS struct {
	// Enabled turns TLS on.
	Enabled bool
	// CAFile holds the authorities to trust; empty means the system's.
	CAFile string
	// CertFile and KeyFile are this client's certificate for brokers that ask
	// for one (mTLS); both or neither.
	CertFile, KeyFile string
	// ServerName is the name the broker's certificate must be for; empty means
	// the host that was dialled.
	ServerName string
	// InsecureSkipVerify believes any certificate: for trying things out only.
	InsecureSkipVerify bool
}

// SASL says who we are.
type SASL struct {
	// Mechanism is Plain, ScramSHA256 or ScramSHA512; empty means no SASL.
	Mechanism string
	// User and Password are what we show.
	User, Password string
}

// Validate returns everything that is wrong, joined and wrapped in ErrConfig,
// or nil. It opens no file and no connection.
func (c Config) Validate() error {
	var wrong []error
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if len(c.Brokers) == 0 {
		add("brokers: none given; want at least one host:port")
	}
	for _, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" {
			add("brokers: %q is not host:port", b)
		} else if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			add("brokers: %q: the port must be a number from 1 to 65535", b)
		}
	}
	if !c.TLS.Enabled && c.TLS != (TLS{}) {
		add("tls: settings are given but TLS is not enabled")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		add("tls: a client certificate needs both its certificate file and its key file")
	}
	if c.TLS.InsecureSkipVerify && c.TLS.CAFile != "" {
		add("tls: a certificate authority is given and its check is turned off; choose one")
	}
	switch c.SASL.Mechanism {
	case "":
		if c.SASL.User != "" || c.SASL.Password != "" {
			add("sasl: a user or password is given without a mechanism (%s, %s or %s)", Plain, ScramSHA256, ScramSHA512)
		}
	case Plain, ScramSHA256, ScramSHA512:
		if c.SASL.User == "" || c.SASL.Password == "" {
			add("sasl: %s needs a user and a password", c.SASL.Mechanism)
		}
	default:
		add("sasl: unknown mechanism %q; want %s, %s or %s", c.SASL.Mechanism, Plain, ScramSHA256, ScramSHA512)
	}
	if c.DialTimeout < 0 {
		add("dial timeout: %s is negative", c.DialTimeout)
	}
	if c.RequestTimeout < 0 {
		add("request timeout: %s is negative", c.RequestTimeout)
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrConfig, errors.Join(wrong...))
}

// WithDefaults returns c with its zero values filled in.
func (c Config) WithDefaults() Config {
	c.Brokers = slices.Clone(c.Brokers)
	if c.ClientID == "" {
		c.ClientID = DefaultClientID
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = DefaultDialTimeout
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = DefaultRequestTimeout
	}
	return c
}

// TLSConfig loads the files and returns the configuration for crypto/tls, or
// nil where TLS is not enabled.
func (c Config) TLSConfig() (*tls.Config, error) {
	if !c.TLS.Enabled {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLS.ServerName, InsecureSkipVerify: c.TLS.InsecureSkipVerify}
	if c.TLS.CAFile != "" {
		pem, err := os.ReadFile(c.TLS.CAFile)
		if err != nil {
			return nil, fmt.Errorf("%w: tls: reading the certificate authority: %w", ErrConfig, err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: tls: %s holds no certificate in PEM", ErrConfig, c.TLS.CAFile)
		}
	}
	if c.TLS.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%w: tls: loading the client certificate: %w", ErrConfig, err)
		}
		t.Certificates = []tls.Certificate{cert}
	}
	return t, nil
}

// ClientOptions validates c and returns what every franz-go client starts from.
// What is added after them takes precedence.
func (c Config) ClientOptions() ([]kgo.Opt, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.WithDefaults()
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.ClientID),
		kgo.SoftwareNameAndVersion("tidemill", "1"),
		kgo.DialTimeout(c.DialTimeout),
		kgo.RequestTimeoutOverhead(c.RequestTimeout),
		kgo.RetryTimeout(c.RequestTimeout),
		kgo.RequestRetries(10_000), // the time-out is the bound, not the count
		kgo.RetryBackoffFn(backoff),
		kgo.ConcurrentTransactionsBackoff(2 * time.Millisecond),
		kgo.MetadataMinAge(100 * time.Millisecond), // how soon a moved leader or a new topic is noticed
		kgo.MaxVersions(spoken()),
		// As Java's producers do. Brokers decompress what they are sent, to look at it: with compression, both sides pay.
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.DisableClientMetrics(), // a client waits a second at its end to push them to brokers that are away
	}
	t, err := c.TLSConfig()
	if err != nil {
		return nil, err
	}
	if t != nil {
		opts = append(opts, kgo.DialTLSConfig(t))
	}
	if c.SASL.Mechanism != "" {
		opts = append(opts, kgo.SASL(c.SASL.mechanism()))
	}
	if c.Logger != nil {
		opts = append(opts, kgo.WithLogger(clientLogger{c.Logger}))
	}
	return opts, nil
}

// spoken are the versions of requests that our clients use at most. From the
// next versions on these three name topics by id and answer without names.
func spoken() *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(kmsg.OffsetCommit.Int16(), 9)
	v.SetMaxKeyVersion(kmsg.OffsetFetch.Int16(), 9)
	v.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 5)
	return v
}

// backoff starts small, because what is mostly waited for is the end of a
// transaction, which takes milliseconds.
func backoff(fails int) time.Duration {
	d := 2 * time.Millisecond << min(max(fails-1, 0), 8)
	d = min(d, 250*time.Millisecond)
	return d/2 + rand.N(d)
}

func (s SASL) mechanism() sasl.Mechanism {
	switch s.Mechanism {
	case ScramSHA256:
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha256Mechanism()
	case ScramSHA512:
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha512Mechanism()
	}
	return plain.Auth{User: s.User, Pass: s.Password}.AsMechanism()
}

// String is for people: it shows no secret.
func (c Config) String() string {
	text := strings.Join(c.Brokers, ",")
	if c.TLS.Enabled {
		text += " with TLS"
	}
	if c.SASL.Mechanism != "" {
		text += " as " + c.SASL.User + " by " + c.SASL.Mechanism
	}
	return text
}
