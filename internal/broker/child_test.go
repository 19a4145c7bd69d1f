package broker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
)

// spawn starts the test binary as a broker child.
func spawn(t testing.TB, o broker.Options) (*broker.Child, error) {
	t.Helper()
	exe, err := os.Executable()
	ok(t, err)
	t.Setenv(roleVariable, "child")
	defer os.Unsetenv(roleVariable)
	return broker.Spawn(exe, nil, o)
}

func TestChildServesAndStops(t *testing.T) {
	dir := t.TempDir()
	c, err := spawn(t, broker.Options{Dir: dir})
	ok(t, err)
	b := kafkatest.At(c.Addr())
	b.CreateTopic(t, "t", 1, nil)
	b.Produce(t, &kgo.Record{Topic: "t", Value: []byte("v")})

	if _, err := spawn(t, broker.Options{Dir: dir}); !errors.Is(err, broker.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process id %d", c.PID())) {
		t.Errorf("a second child on the directory: %v, want ErrLocked naming process %d", err, c.PID())
	}
	if _, err := broker.Start(t.Context(), broker.Options{Dir: dir}); !errors.Is(err, broker.ErrLocked) {
		t.Errorf("a broker on the child's directory: %v, want ErrLocked", err)
	}
	if _, err := spawn(t, broker.Options{Addr: c.Addr()}); err == nil || !strings.Contains(err.Error(), "cannot listen") {
		t.Errorf("a second child on the address: %v", err)
	}
	if err := syscall.Kill(c.PID(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if got := len(b.ReadAll(t, "t", true)); got != 1 { // an interrupt is not for the child
		t.Errorf("%d records, want 1", got)
	}
	if err := c.Err(); err != nil {
		t.Errorf("the running child's error is %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ok(t, c.Stop(ctx))
	ok(t, c.Stop(ctx))
	if _, err := os.Stat(filepath.Join(dir, "CLEAN")); err != nil {
		t.Errorf("the child did not close its directory: %v", err)
	}
	again := start(t, broker.Options{Dir: dir, Addr: c.Addr()})
	if got := len(kafkatest.At(again.Addr()).ReadAll(t, "t", true)); got != 1 {
		t.Errorf("%d records after the restart, want 1", got)
	}
}

func TestChildThatEndsIsNoticed(t *testing.T) {
	c, err := spawn(t, broker.Options{})
	ok(t, err)
	ok(t, syscall.Kill(c.PID(), syscall.SIGKILL))
	select {
	case <-c.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("nobody noticed")
	}
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("error %v", err)
	}
	if _, err := broker.Spawn("/bin/false", nil, broker.Options{}); err == nil {
		t.Error("/bin/false is no broker")
	}
	if _, err := broker.Spawn("/no/such/program", nil, broker.Options{}); err == nil {
		t.Error("there is no such program")
	}
}

// A child that is killed while it starts can be told from one that cannot start.
func TestChildKilledWhileItStarts(t *testing.T) {
	if _, err := broker.Spawn("/bin/sh", []string{"-c", "kill -9 $$"}, broker.Options{}); !errors.Is(err, broker.ErrKilled) {
		t.Errorf("killed before it was ready: %v, want ErrKilled", err)
	}
	for _, script := range []string{"exit 1", "echo failed to do anything", "echo nonsense"} {
		if _, err := broker.Spawn("/bin/sh", []string{"-c", script}, broker.Options{}); err == nil || errors.Is(err, broker.ErrKilled) {
			t.Errorf("%s: %v, want an error that is not ErrKilled", script, err)
		}
	}
}

// runParent is a program like `up`: it spawns a broker and commits transactions,
// telling the number of each on its standard output, until it is killed.
func runParent() {
	dir := os.Args[1]
	exe, err := os.Executable()
	os.Setenv(roleVariable, "child")
	var child *broker.Child
	if err == nil {
		child, err = broker.Spawn(exe, nil, broker.Options{Dir: dir})
	}
	if err == nil {
		fmt.Println("child", child.PID())
		go func() {
			<-child.Done()
			fmt.Println("error the child has ended")
			os.Exit(1)
		}()
	}
	if err == nil {
		err = transactForEver(child.Addr())
	}
	fmt.Println("error", err)
	os.Exit(1)
}

func transactForEver(addr string) error {
	ctx := context.Background()
	a, err := log.NewAdmin(config(addr))
	if err != nil {
		return err
	}
	for topic, partitions := range map[string]int32{in: 2, out: parts} {
		if _, err := a.EnsureTopic(ctx, log.TopicSpec{Name: topic, Partitions: partitions}); err != nil {
			return err
		}
	}
	var producers [2]*log.TxnProducer
	for i := range producers {
		if producers[i], err = log.NewTxnProducer(config(addr), fmt.Sprint("tx-", i), 10*time.Second); err != nil {
			return err
		}
		if err := producers[i].Init(ctx); err != nil {
			return err
		}
	}
	at, err := a.CommittedOffsets(ctx, group, true, in)
	if err != nil {
		return err
	}
	for n := at[in][0].Offset + 1; ; n++ {
		p := producers[n%2]
		if err := p.Begin(); err != nil {
			return err
		}
		for q := range int32(parts) {
			if err := p.ProduceTo(&kgo.Record{Topic: out, Value: []byte(strconv.FormatInt(n, 10))}, q); err != nil {
				return err
			}
		}
		if err := p.Flush(ctx); err != nil {
			return err
		}
		to := log.Position{Offset: n, LeaderEpoch: -1, Metadata: fmt.Sprint("seq ", n)}
		if err := p.CommitOffsets(ctx, log.Member{Group: group, Generation: -1}, log.Positions{in: {0: to, 1: to}}); err != nil {
			return err
		}
		if _, err := p.End(ctx, true); err != nil {
			return err
		}
		fmt.Println("committed", n)
	}
}

// checkAfterCrash starts the broker again: the group is at the last transaction that was told, or at the one after it, and all
// of them are whole. It returns which the last one is.
func checkAfterCrash(t *testing.T, round int, dir string, told int64) int64 {
	t.Helper()
	b := startPatiently(t, broker.Options{Dir: dir})
	at, err := newAdmin(t, b.Addr()).CommittedOffsets(t.Context(), group, false, in)
	ok(t, err)
	n := at[in][0].Offset
	if n != told && n != told+1 {
		t.Errorf("round %d: the group is at %d, the last that was told is %d", round, n, told)
	}
	abortOpen(t, b.Addr())
	checkWhole(t, b.Addr(), parts, n)
	ok(t, b.Close())
	return n
}

// TestParentIsKilled kills a parent in the middle of its transactions: its child
// stops cleanly by itself, and every transaction is whole.
func TestParentIsKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	exe, err := os.Executable()
	ok(t, err)
	told := int64(0)
	for round := range 10 {
		parent := exec.Command(exe, dir)
		parent.Env = append(os.Environ(), roleVariable+"=parent")
		parent.Stderr = os.Stderr
		out, err := parent.StdoutPipe()
		ok(t, err)
		ok(t, parent.Start())
		kill := sync.OnceFunc(func() {
			time.AfterFunc(time.Duration(rand.IntN(150))*time.Millisecond, func() { parent.Process.Kill() })
		})
		for lines := bufio.NewScanner(out); lines.Scan(); {
			number, committed := strings.CutPrefix(lines.Text(), "committed ")
			if strings.HasPrefix(lines.Text(), "child ") {
				continue
			}
			if !committed {
				t.Fatalf("round %d: %s", round, lines.Text())
			}
			told, err = strconv.ParseInt(number, 10, 64)
			ok(t, err)
			kill()
		}
		parent.Wait()
		deadline := time.Now().Add(30 * time.Second)
		for { // the child says when it has closed the directory
			if _, err := os.Stat(filepath.Join(dir, "CLEAN")); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the child did not stop cleanly within 30 s of its parent's death")
			}
			time.Sleep(5 * time.Millisecond)
		}
		told = checkAfterCrash(t, round, dir, told) // the next round need not tell any
	}
	if told < 10 {
		t.Errorf("only %d transactions in ten rounds", told)
	}
	t.Logf("%d transactions", told)
}

// startPatiently starts a broker on a directory that another is about to give up.
func startPatiently(t *testing.T, o broker.Options) *broker.Broker {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		b, err := broker.Start(t.Context(), o)
		if err == nil {
			return b
		}
		if !errors.Is(err, broker.ErrLocked) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// abortOpen ends what the killed parent had begun, as its successor's Init does.
func abortOpen(t *testing.T, addr string) {
	t.Helper()
	a := newAdmin(t, addr)
	open, err := a.OpenTransactions(t.Context(), "tx-")
	ok(t, err)
	ok(t, a.AbortTransactions(t.Context(), open...))
}
