package log_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestValidateReportsEverythingAtOnce(t *testing.T) {
	bad := log.Config{
		Brokers:        []string{"nohost", "host:notaport", "host:99999", ":9092"},
		TLS:            log.TLS{CertFile: "cert.pem", CAFile: "ca.pem", InsecureSkipVerify: true},
		SASL:           log.SASL{Mechanism: "GSSAPI"},
		DialTimeout:    -1,
		RequestTimeout: -time.Second,
	}
	err := bad.Validate()
	if !errors.Is(err, log.ErrConfig) {
		t.Fatalf("%v, want ErrConfig", err)
	}
	for _, want := range []string{
		`"nohost" is not host:port`, `"host:notaport": the port`, `"host:99999": the port`, `":9092" is not host:port`,
		"not enabled", "both its certificate file and its key file", "choose one", `unknown mechanism "GSSAPI"`, "dial timeout", "request timeout",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
}

func TestValidateSingly(t *testing.T) {
	good := log.Config{Brokers: []string{"127.0.0.1:9092", "[::1]:9093", "kafka.example:9094"}}
	ok(t, good.Validate())
	for want, c := range map[string]func(*log.Config){
		"none given":              func(c *log.Config) { c.Brokers = nil },
		"without a mechanism":     func(c *log.Config) { c.SASL.User = "u" },
		"needs a user":            func(c *log.Config) { c.SASL.Mechanism = log.Plain },
		"needs a user and a pass": func(c *log.Config) { c.SASL = log.SASL{Mechanism: log.ScramSHA256, User: "u"} },
	} {
		bad := good
		c(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := bad.ClientOptions(); !errors.Is(err, log.ErrConfig) {
			t.Errorf("ClientOptions: %v, want ErrConfig", err)
		}
	}
	missing := good
	missing.TLS = log.TLS{Enabled: true, CAFile: "no-such-file"}
	if _, err := missing.ClientOptions(); !errors.Is(err, log.ErrConfig) {
		t.Errorf("a missing authority: %v, want ErrConfig", err)
	}
}

func TestNoSecretIsShown(t *testing.T) {
	c := log.Config{Brokers: []string{"a:1", "b:2"}, SASL: log.SASL{Mechanism: log.Plain, User: "alice", Password: "s3cret"}, TLS: log.TLS{Enabled: true}}
	if got := c.String(); got != "a:1,b:2 with TLS as alice by PLAIN" {
		t.Errorf("%q", got)
	}
}

// Every way to secure a connection, with the right credentials and without.
func TestSecuredBrokers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a broker for each way")
	}
	user := func(mechanism string) []broker.User {
		return []broker.User{{Mechanism: mechanism, Name: "alice", Password: "s3cret"}}
	}
	for name, o := range map[string]kafkatest.Options{
		"tls":            {TLS: true},
		"mtls":           {TLS: true, ClientCertificates: true},
		"plain":          {Users: user(log.Plain)},
		"scram-256+tls":  {TLS: true, Users: user(log.ScramSHA256)},
		"scram-512+mtls": {TLS: true, ClientCertificates: true, Users: user(log.ScramSHA512)},
	} {
		t.Run(name, func(t *testing.T) {
			kafkatest.EachOwn(t, o, func(t *testing.T, p *kafkatest.Process) {
				c := config(p.Broker)
				c.RequestTimeout = 5 * time.Second
				if o.TLS {
					c.TLS = log.TLS{Enabled: true, CAFile: p.Certificates.CAFile}
				}
				if o.ClientCertificates {
					c.TLS.CertFile, c.TLS.KeyFile = p.Certificates.ClientCertFile, p.Certificates.ClientKeyFile
				}
				if len(o.Users) > 0 {
					c.SASL = log.SASL{Mechanism: o.Users[0].Mechanism, User: "alice", Password: "s3cret"}
				}
				a := must(log.NewAdmin(c))(t)
				defer a.Close()
				topic := p.Name(t)
				must(a.EnsureTopic(t.Context(), log.TopicSpec{Name: topic, Partitions: 1}))(t)
				tp := must(log.NewTxnProducer(c, p.Name(t), 20*time.Second))(t)
				defer tp.Close()
				ok(t, tp.Init(t.Context()))
				ok(t, tp.Begin())
				ok(t, tp.Produce(&kgo.Record{Topic: topic, Value: []byte("v")}))
				must(tp.End(t.Context(), true))(t)
				for what, wrong := range wrongs(c) {
					b := must(log.NewAdmin(wrong))(t)
					if err := b.Ping(t.Context()); !errors.Is(err, log.ErrUnauthorized) && !errors.Is(err, log.ErrUnreachable) {
						t.Errorf("%s: %v, want ErrUnauthorized or ErrUnreachable", what, err)
					} else {
						t.Logf("%s: %v", what, err)
					}
					b.Close()
				}
			})
		})
	}
}

// wrongs takes away or spoils one thing at a time.
func wrongs(c log.Config) map[string]log.Config {
	all := map[string]log.Config{}
	c.RequestTimeout = 2 * time.Second
	if c.TLS.Enabled {
		w := c
		w.TLS.CAFile = ""
		all["unknown authority"] = w
	}
	if c.TLS.CertFile != "" {
		w := c
		w.TLS.CertFile, w.TLS.KeyFile = "", ""
		all["no client certificate"] = w
	}
	if c.SASL.Mechanism != "" {
		w := c
		w.SASL.Password = "wrong"
		all["wrong password"] = w
		w.SASL = log.SASL{}
		all["no credentials"] = w
	}
	return all
}

func TestNobodyAnswers(t *testing.T) {
	c := log.Config{Brokers: []string{"127.0.0.1:1"}, RequestTimeout: 300 * time.Millisecond}
	a := must(log.NewAdmin(c))(t)
	defer a.Close()
	began := time.Now()
	_, topics := a.Topics(t.Context())
	_, end := a.EndOffsets(t.Context(), "t")
	_, committed := a.CommittedOffsets(t.Context(), "g", false)
	for _, err := range []error{a.Ping(t.Context()), topics, end, committed, a.DeleteGroup(t.Context(), "g"), a.AbortTransactions(t.Context(), "x")} {
		if !errors.Is(err, log.ErrUnreachable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
			t.Errorf("%v, want ErrUnreachable with the address", err)
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("six calls took %s with a time-out of 300 ms", took)
	}
}

// The caller's deadline counts, also while a connection is being made.
func TestDeadlineOfTheCaller(t *testing.T) {
	p := kafkatest.EmbeddedOwn(t, kafkatest.Options{})
	p.Pause(t)
	a := must(log.NewAdmin(config(p.Broker)))(t)
	defer a.Close()
	tp := must(log.NewTxnProducer(config(p.Broker), "id", time.Second))(t)
	defer tp.Close()
	began := time.Now()
	for what, call := range map[string]func(ctx context.Context) error{
		"ping":    a.Ping,
		"topics":  func(ctx context.Context) error { _, err := a.Topics(ctx); return err },
		"list":    func(ctx context.Context) error { _, err := a.ListTransactions(ctx, ""); return err },
		"feature": func(ctx context.Context) error { _, _, err := a.FinalizedFeature(ctx, "f"); return err },
		"init":    tp.Init,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := call(ctx); !errors.Is(err, log.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want ErrUnreachable", what, err)
		}
		cancel()
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("five calls of 100 ms took %s", took)
	}
	p.Continue(t)
	ok(t, a.Ping(t.Context()))
}
