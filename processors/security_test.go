package processors_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
)

// TestMutualTLS: the processor shows its certificate, in all of its clients; without one it is told so.
func TestMutualTLS(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{TLS: true, ClientCertificates: true}, func(t *testing.T, p *kafkatest.Process) {
		c := config(t, p.Broker)
		c.Kafka.TLS = kafka.TLS{
			Enabled: true, CAFile: p.Certificates.CAFile, CertFile: p.Certificates.ClientCertFile, KeyFile: p.Certificates.ClientKeyFile,
		}
		worked(t, p.Broker, c, p.Name(t), 100)
		c.Kafka.TLS.CertFile, c.Kafka.TLS.KeyFile = "", ""
		refuses(t, p.Name(t), c, kafka.ErrUnauthorized)
		c.Kafka.TLS = kafka.TLS{}
		c.Kafka.RequestTimeout = 2 * time.Second
		if strings.HasSuffix(t.Name(), "/embedded") {
			// It hangs up without a word, as a broker that is away behind a load balancer does: the text names TLS.
			refuses(t, p.Name(t), c, kafka.ErrUnreachable, "TLS")
			return
		}
		refuses(t, p.Name(t), c, kafka.ErrUnauthorized)
	})
}

// TestSASL: the processor gets in by each mechanism, over TLS; with a wrong password it is told so.
func TestSASL(t *testing.T) {
	users := []broker.User{
		{Mechanism: kafka.Plain, Name: "plain-user", Password: "plain-secret"},
		{Mechanism: kafka.ScramSHA256, Name: "scram-user", Password: "scram-secret"},
		{Mechanism: kafka.ScramSHA512, Name: "other-user", Password: "other-secret"},
	}
	kafkatest.EachOwn(t, kafkatest.Options{TLS: true, Users: users}, func(t *testing.T, p *kafkatest.Process) {
		for _, user := range users {
			t.Run(user.Mechanism, func(t *testing.T) {
				c := config(t, p.Broker)
				c.Kafka.TLS = kafka.TLS{Enabled: true, CAFile: p.Certificates.CAFile}
				c.Kafka.SASL = kafka.SASL{Mechanism: user.Mechanism, User: user.Name, Password: user.Password}
				for _, guarantee := range []processors.Guarantee{processors.ExactlyOnce, processors.AtLeastOnce} {
					c.Guarantee, c.StateDir = guarantee, t.TempDir()
					worked(t, p.Broker, c, p.Name(t), 100)
				}
				c.Kafka.SASL.Password = "a guess"
				want := kafka.ErrUnauthorized
				if p.Kind() == kafkatest.KindEmbedded {
					want = kafka.ErrUnreachable // it hangs up without a word
				}
				refuses(t, p.Name(t), c, want)
			})
		}
	})
}
