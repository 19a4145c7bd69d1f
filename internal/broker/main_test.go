package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
)

// roleVariable makes a second run of the test binary a child of the tests.
const roleVariable = "TIDEMILL_BROKER_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "child":
		if err := broker.RunChild(context.Background(), os.Stdin, os.Stdout, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	case "parent":
		runParent()
		return
	}
	kafkatest.Main(m)
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t testing.TB, o broker.Options) *broker.Broker {
	t.Helper()
	b, err := broker.Start(t.Context(), o)
	ok(t, err)
	t.Cleanup(func() { ok(t, b.Close()) })
	return b
}

func config(addr string) log.Config {
	return log.Config{Brokers: []string{addr}, RequestTimeout: 10 * time.Second}
}

func newAdmin(t testing.TB, addr string) *log.Admin {
	t.Helper()
	a, err := log.NewAdmin(config(addr))
	ok(t, err)
	t.Cleanup(a.Close)
	return a
}

func newProducer(t testing.TB, addr, id string) *log.TxnProducer {
	t.Helper()
	p, err := log.NewTxnProducer(config(addr), id, 10*time.Second)
	ok(t, err)
	t.Cleanup(p.Close)
	ok(t, p.Init(t.Context()))
	return p
}
