package kafkatest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tidemill/tidemill/internal/broker"
)

// childVariable carries the options of an embedded broker to a second run of
// the test binary, which Main turns into that broker.
const childVariable = "TIDEMILL_KAFKATEST_BROKER"

// mainCalled is set before any test runs and never again.
var mainCalled bool

// EmbeddedOwn starts an embedded broker in a process of its own: the test
// binary once more. The package's TestMain must call Main.
func EmbeddedOwn(t testing.TB, o Options) *Process {
	t.Helper()
	if !mainCalled {
		t.Fatal("kafkatest: EmbeddedOwn needs func TestMain(m *testing.M) { kafkatest.Main(m) } in this package")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatalf("kafkatest: %v", err)
	}
	ports, err := freePorts(1)
	if err != nil {
		t.Fatalf("kafkatest: %v", err)
	}
	dir := t.TempDir()
	p := &Process{Broker: Broker{kind: KindEmbedded, own: filepath.Join(dir, "broker"), addr: fmt.Sprintf("127.0.0.1:%d", ports[0])}}
	p.logFile = filepath.Join(dir, "broker.log")
	options := broker.Options{Dir: p.own, Addr: p.addr, Users: o.Users, Config: o.Properties}
	if o.TLS {
		p.Certificates = NewCertificates(t)
		options.TLS = &broker.TLS{CertFile: p.Certificates.ServerPEM, KeyFile: p.Certificates.ServerPEM}
		if o.ClientCertificates {
			options.TLS.ClientCAFile = p.Certificates.CAFile
		}
	}
	if err := p.clientOptions(o); err != nil {
		t.Fatalf("kafkatest: %v", err)
	}
	line, err := json.Marshal(options)
	if err != nil {
		t.Fatalf("kafkatest: %v", err)
	}
	p.command = func() *exec.Cmd {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), childVariable+"="+string(line))
		return cmd
	}
	p.Start(t)
	t.Cleanup(p.kill)
	return p
}

// runChild is what the second run does instead of the tests. The guard ends it
// with the test process.
func runChild() int {
	var o broker.Options
	if err := json.Unmarshal([]byte(os.Getenv(childVariable)), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	b, err := broker.Start(context.Background(), o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	<-ctx.Done()
	if err := b.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
