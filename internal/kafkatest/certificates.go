package kafkatest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Certificates names PEM files of a certificate authority made for one test.
// The server's certificate is for localhost and 127.0.0.1.
type Certificates struct {
	// CAFile is the authority's certificate.
	CAFile string
	// ServerPEM is the server's key and certificate in one file.
	ServerPEM string
	// ClientCertFile and ClientKeyFile are a client's.
	ClientCertFile, ClientKeyFile string
}

// NewCertificates makes an authority, a server's and a client's certificate, all
// valid for a day, in the test's temporary directory.
func NewCertificates(t testing.TB) Certificates {
	t.Helper()
	c, err := newCertificates(t.TempDir())
	if err != nil {
		t.Fatalf("kafkatest: making certificates: %v", err)
	}
	return c
}

func newCertificates(dir string) (Certificates, error) {
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tidemill test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificates{}, err
	}
	ca, err := x509.CreateCertificate(rand.Reader, authority, authority, &caKey.PublicKey, caKey)
	if err != nil {
		return Certificates{}, err
	}
	issue := func(name string, serial int64, usage x509.ExtKeyUsage) (cert, key []byte, err error) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
			DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, authority, &k.PublicKey, caKey)
		if err != nil {
			return nil, nil, err
		}
		pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			return nil, nil, err
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
	}
	serverCert, serverKey, err := issue("localhost", 2, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return Certificates{}, err
	}
	clientCert, clientKey, err := issue("tidemill-client", 3, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return Certificates{}, err
	}
	c := Certificates{
		CAFile: filepath.Join(dir, "ca.pem"), ServerPEM: filepath.Join(dir, "server.pem"),
		ClientCertFile: filepath.Join(dir, "client.pem"), ClientKeyFile: filepath.Join(dir, "client-key.pem"),
	}
	for path, content := range map[string][]byte{
		c.CAFile:         pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca}),
		c.ServerPEM:      append(serverKey, serverCert...),
		c.ClientCertFile: clientCert,
		c.ClientKeyFile:  clientKey,
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return Certificates{}, err
		}
	}
	return c, nil
}

// clientOptions lets the helpers' own clients in.
func (p *Process) clientOptions(o Options) error {
	p.opts = nil
	if o.TLS {
		ca, err := os.ReadFile(p.Certificates.CAFile)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		cert, err := tls.LoadX509KeyPair(p.Certificates.ClientCertFile, p.Certificates.ClientKeyFile)
		if err != nil {
			return err
		}
		p.opts = append(p.opts, kgo.DialTLSConfig(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}))
	}
	if len(o.Users) == 0 {
		return nil
	}
	u := o.Users[0]
	var mechanism sasl.Mechanism
	switch u.Mechanism {
	case "PLAIN":
		mechanism = plain.Auth{User: u.Name, Pass: u.Password}.AsMechanism()
	case "SCRAM-SHA-256":
		mechanism = scram.Auth{User: u.Name, Pass: u.Password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		mechanism = scram.Auth{User: u.Name, Pass: u.Password}.AsSha512Mechanism()
	default:
		return fmt.Errorf("unknown SASL mechanism %q", u.Mechanism)
	}
	p.opts = append(p.opts, kgo.SASL(mechanism))
	return nil
}
