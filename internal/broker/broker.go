// Package broker runs the embedded broker: one Kafka node inside this process,
// or inside a child process that stops cleanly by itself when its parent dies.
//
// The node is franz-go's kfake with a data directory. It speaks the protocol of
// Kafka 4.3: transactions (KIP-98, KIP-890), consumer groups with static
// membership, compaction, SASL and TLS, so that stock Kafka tools can be used
// on its port. It is one node: it claims no replication.
//
// A kill -9 of the process that runs the node loses no acknowledged record, but
// it may cut a commit in half (some partitions committed, others aborted),
// because kfake writes the markers one after the other. That is why the child
// process (see Spawn) outlives its parent for as long as it takes to finish
// what it is doing and to close its files.
//
// Errors to test for with errors.Is: ErrLocked, ErrAddress.
package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

var (
	// ErrLocked is returned where another process has the data directory.
	ErrLocked = errors.New("data directory is in use")
	// ErrAddress is returned where the broker cannot listen where it was told to.
	ErrAddress = errors.New("cannot listen")
)

// Options configures the embedded broker. The zero value is a broker in memory
// on a free loopback port.
type Options struct {
	// Dir is the data directory, created if missing. Empty keeps everything in
	// memory.
	Dir string `json:"dir,omitempty"`
	// Addr is the host and port to listen on and to name to clients, such as
	// "127.0.0.1:9092". The host must be one that clients can reach, so not
	// 0.0.0.0; port 0, and an empty Addr, take any free loopback port.
	Addr string `json:"addr,omitempty"`
	// Partitions is the number of partitions of a topic created without one; 0
	// means 1.
	Partitions int `json:"partitions,omitempty"`
	// AutoCreateTopics lets a client's metadata request create a topic.
	AutoCreateTopics bool `json:"auto_create_topics,omitempty"`
	// SyncWrites waits for the disk on every write, so that even a power cut
	// loses nothing that was acknowledged. Without it the operating system
	// writes when it likes, as on a stock Kafka.
	SyncWrites bool `json:"sync_writes,omitempty"`
	// TLS, where not nil, is what the listener shows and asks for.
	TLS *TLS `json:"tls,omitempty"`
	// Users, where not empty, are the only ones let in, by SASL. They may do
	// everything.
	Users []User `json:"users,omitempty"`
	// Config holds settings of the broker by Kafka's names, such as
	// "transaction.max.timeout.ms".
	Config map[string]string `json:"config,omitempty"`
	// Logger, where not nil, receives the broker's warnings and errors.
	Logger *slog.Logger `json:"-"`
}

// TLS names the files of the listener, all in PEM.
type TLS struct {
	// CertFile and KeyFile are the broker's certificate chain and key.
	CertFile string `json:"cert_file"`
	KeyFile  string `json:"key_file"`
	// ClientCAFile, where not empty, makes the broker ask every client for a
	// certificate signed by one of these.
	ClientCAFile string `json:"client_ca_file,omitempty"`
}

// User is someone who may connect.
type User struct {
	// Mechanism is "PLAIN", "SCRAM-SHA-256" or "SCRAM-SHA-512".
	Mechanism string `json:"mechanism"`
	// Name and Password are what the client must show.
	Name     string `json:"name"`
	Password string `json:"password"`
}

// Broker is a running embedded broker. Its methods are safe for concurrent use.
type Broker struct {
	cluster *kfake.Cluster
	addr    string
	lock    *dirLock
	once    sync.Once
	err     error
}

// Start runs a broker in this process until Close. On a directory that another
// process has it returns ErrLocked; where the address cannot be had, ErrAddress.
// The context bounds nothing after Start has returned.
func Start(ctx context.Context, o Options) (*Broker, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("starting the embedded broker: %w", err)
	}
	host, port, err := splitAddr(o.Addr)
	if err != nil {
		return nil, err
	}
	listener, err := o.TLS.config()
	if err != nil {
		return nil, err
	}
	b := &Broker{}
	if o.Dir != "" {
		if err := os.MkdirAll(o.Dir, 0o755); err != nil {
			return nil, fmt.Errorf("creating the data directory: %w", err)
		}
		if b.lock, err = lockDir(o.Dir); err != nil {
			return nil, err
		}
		if err := checkNoOtherKafka(o.Dir); err != nil {
			b.lock.unlock()
			return nil, err
		}
	}
	b.cluster, err = kfake.NewCluster(o.kfake(host, port, listener)...)
	if err != nil {
		b.lock.unlock()
		if _, ok := errors.AsType[*net.OpError](err); ok {
			return nil, fmt.Errorf("%w on %s: %w (choose another address, or stop what listens there)", ErrAddress, o.Addr, err)
		}
		return nil, fmt.Errorf("starting the embedded broker on %q: %w", o.Dir, err)
	}
	if o.Dir != "" {
		if err := dropOpenSnapshots(o.Dir); err != nil {
			b.Close()
			return nil, err
		}
	}
	b.mend()
	b.addr = b.cluster.ListenAddrs()[0]
	b.lock.describe(b.addr)
	return b, nil
}

// Addr is the host and port the broker listens on.
func (b *Broker) Addr() string { return b.addr }

// Cluster is the node itself, for tests that inject faults.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Close lets the request in hand finish, writes everything to disk and gives
// the directory back. It may be called more than once.
func (b *Broker) Close() error {
	b.once.Do(func() {
		b.cluster.Close()
		b.err = b.lock.unlock()
	})
	return b.err
}

func splitAddr(addr string) (host string, port int, err error) {
	if addr == "" {
		return "127.0.0.1", 0, nil
	}
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("%w on %q: %w (want host:port)", ErrAddress, addr, err)
	}
	if port, err = strconv.Atoi(p); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%w on %q: the port must be a number from 0 to 65535", ErrAddress, addr)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "", 0, fmt.Errorf("%w on %q: the broker tells its clients this address, so name a host they can reach, such as 127.0.0.1", ErrAddress, addr)
	}
	return host, port, nil
}

func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("loading the broker's certificate: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if t.ClientCAFile != "" {
		pem, err := os.ReadFile(t.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("loading the clients' certificate authority: %w", err)
		}
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", t.ClientCAFile)
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

func (o Options) kfake(host string, port int, listener *tls.Config) []kfake.Opt {
	partitions := o.Partitions
	if partitions <= 0 {
		partitions = 1
	}
	opts := []kfake.Opt{
		kfake.Ports(port),
		kfake.ClusterID("tidemill-embedded"),
		kfake.DefaultNumPartitions(partitions),
		kfake.MaxVersions(offered()),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			return net.Listen(network, net.JoinHostPort(host, strconv.Itoa(port)))
		}),
	}
	if o.Dir != "" {
		opts = append(opts, kfake.DataDir(o.Dir))
	}
	if o.SyncWrites {
		opts = append(opts, kfake.SyncWrites())
	}
	if o.AutoCreateTopics {
		opts = append(opts, kfake.AllowAutoTopicCreation())
	}
	if listener != nil {
		opts = append(opts, kfake.TLS(listener))
	}
	if len(o.Users) > 0 {
		opts = append(opts, kfake.EnableSASL())
		for _, u := range o.Users {
			opts = append(opts, kfake.Superuser(u.Mechanism, u.Name, u.Password))
		}
	}
	if len(o.Config) > 0 {
		opts = append(opts, kfake.BrokerConfigs(o.Config))
	}
	if o.Logger != nil {
		opts = append(opts, kfake.WithLogger(logger{o.Logger}))
	}
	return opts
}

// offered is what the broker says it can do: Kafka 4.3's requests, less the one
// whose answer the Java admin client cannot read. Without DescribeTopicPartitions
// that client asks for metadata instead.
func offered() *kversion.Versions {
	v := kversion.V4_3_0()
	v.SetMaxKeyVersion(kmsg.DescribeTopicPartitions.Int16(), -1)
	return v
}

// logger hands kfake's lines to slog.
type logger struct{ to *slog.Logger }

func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	var to slog.Level
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
	case kfake.LogLevelWarn:
		to = slog.LevelWarn
	case kfake.LogLevelInfo:
		to = slog.LevelDebug // one line a request: too much for info
	default:
		return
	}
	if ctx := context.Background(); l.to.Enabled(ctx, to) {
		l.to.Log(ctx, to, fmt.Sprintf(format, args...))
	}
}
