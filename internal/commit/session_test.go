package commit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/task"
)

// TestSessionEnd is rule 2: the gate closes, the running steps finish, what was queued is forgotten, the last commit is made.
func TestSessionEnd(t *testing.T) {
	h := newHarness(t, "in")
	h.open(1)
	values := repeat("x", 100)
	values[5] = pause
	returned := make(chan error, 1)
	go func() { returned <- h.session.Process(0, records("in", 0, 0, values...)) }()
	<-h.paused
	closed := make(chan error, 1)
	session := h.session
	go func() { closed <- session.Close(context.Background(), h.done) }()
	select {
	case err := <-closed:
		t.Fatalf("the session closed over a running step: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	close(h.resume)
	if err := <-closed; err != nil {
		t.Fatalf("closing: %v", err)
	}
	if err := <-returned; !errors.Is(err, commit.ErrClosed) {
		t.Errorf("Process returned %v, want ErrClosed", err)
	}
	at := h.log.stored("in", 0)
	if at.Next == 0 || at.Next >= 100 || at.Next%32 != 0 {
		t.Errorf("committed offset is %d, want what the running steps reached: a multiple of 32 below 100", at.Next)
	}
	if got := h.row(0, "k"); got != fmt.Sprint(at.Next) {
		t.Errorf("the row is %s after offset %d", got, at.Next)
	}
	if err := session.Process(0, records("in", 0, 96, "x")); !errors.Is(err, commit.ErrClosed) {
		t.Errorf("Process after Close returned %v, want ErrClosed", err)
	}
	if err := session.Tick(1); !errors.Is(err, commit.ErrClosed) {
		t.Errorf("Tick after Close returned %v, want ErrClosed", err)
	}
	if err := session.Err(); !errors.Is(err, commit.ErrClosed) {
		t.Errorf("Err after Close is %v, want ErrClosed", err)
	}
}

// TestOverlap is rule 3: the next transaction works while the last one commits, sees its state, and sends nothing until the
// outcome is known.
func TestOverlap(t *testing.T) {
	h, release := newHarness(t, "in"), make(chan struct{})
	h.log.plan = func(n int) fate {
		if n == 1 {
			return fate{wait: release}
		}
		return fate{}
	}
	h.open(1)
	h.process(records("in", 0, 0, "x", "x", "x")...)
	h.awaitCommits(1)
	h.process(records("in", 0, 3, "x", "x")...)
	before := h.log.traced()
	if strings.Contains(before, "p1") || strings.Contains(before, "k=4") {
		t.Errorf("something of the second transaction was sent before the outcome of the first:\n%s", before)
	}
	if got := h.row(0, "k"); got != "" {
		t.Errorf("row %s is on the disk before its transaction has committed", got)
	}
	close(release)
	h.awaitStored("in", 0, 5)
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	want := `p0 begin
p0 send out k=1
p0 send out k=2
p0 send out k=3
p0 send app-counts-changelog k=1
p0 send app-counts-changelog k=2
p0 send app-counts-changelog k=3
p0 offset in/0=3 1:1:1002
p0 committed
p1 begin
p1 send out k=4
p1 send out k=5
p1 send app-counts-changelog k=4
p1 send app-counts-changelog k=5
p1 offset in/0=5 1:2:1004
p1 committed`
	if got := h.log.traced(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if at := h.checkpoint(0); at.Offset != 5 || at.Sequence != 2 || at.StreamTime != 1004 || at.TopicID != [16]byte{1} {
		t.Errorf("the checkpoint is %+v", at)
	}
}

// TestOffsets is rule 4: each commit carries sequence and stream time for every topic, also when no offset has moved.
func TestOffsets(t *testing.T) {
	h := newHarness(t, "a", "b")
	h.ticks = true
	h.log.offsets[commit.Place{Topic: "a"}] = commit.StoredOffset{Next: 70}
	h.log.offsets[commit.Place{Topic: "b"}] = commit.StoredOffset{Next: 90}
	h.open(1)
	h.process(records("a", 0, 70, "x")...)
	h.awaitStored("a", 0, 71)
	for now := int64(1); now <= 3; now++ { // the first one arms the timer
		if err := h.session.Tick(now * 100); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "a commit of ticks alone", func() bool { return h.row(0, "ticks") == "2" })
	h.process(records("b", 0, 90, "x")...)
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	var offsets []string
	for line := range strings.Lines(h.log.traced()) {
		if _, offset, ok := strings.Cut(strings.TrimSpace(line), " offset "); ok {
			offsets = append(offsets, offset)
		}
	}
	last := int(h.log.stored("a", 0).Meta.Sequence)
	for i, offset := range offsets {
		sequence, topic, next := 1+i/2, "a", 71
		if i%2 == 1 {
			topic, next = "b", 90
		}
		if sequence == last && topic == "b" {
			next = 91
		}
		streamTime := 1070
		if sequence == last {
			streamTime = 1090
		}
		if want := fmt.Sprintf("%s/0=%d 1:%d:%d", topic, next, sequence, streamTime); offset != want {
			t.Errorf("offset %d is %q, want %q", i, offset, want)
		}
	}
	if len(offsets) != 2*last || last < 3 {
		t.Errorf("%d offsets in %d commits: %q", len(offsets), last, offsets)
	}
}

// TestNoPositionIsInvented leaves out of the commits what was neither read nor ever committed.
func TestNoPositionIsInvented(t *testing.T) {
	h := newHarness(t, "a", "b")
	h.unread = []commit.Place{{Topic: "b"}}
	h.open(1)
	h.process(records("a", 0, 0, "x")...)
	h.awaitStored("a", 0, 1)
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	if trace := h.log.traced(); strings.Contains(trace, "b/0") {
		t.Errorf("a position of b was committed:\n%s", trace)
	}
}

// TestAbort is rule 6: what was seen of an aborted transaction goes with it, and nothing is sent on top of it.
func TestAbort(t *testing.T) {
	h, release, aborted := newHarness(t, "in"), make(chan struct{}), errors.New("no room in the log")
	h.log.plan = func(n int) fate {
		if n == 1 {
			return fate{wait: release, fails: true, err: aborted}
		}
		return fate{}
	}
	h.open(1)
	h.process(records("in", 0, 0, "x", "x")...)
	h.awaitCommits(1)
	h.process(records("in", 0, 2, "x")...)
	close(release)
	h.awaitEnd()
	if err := h.close(); !errors.Is(err, commit.ErrAborted) || !errors.Is(err, aborted) {
		t.Errorf("the session ended with %v, want ErrAborted and the cause", err)
	}
	if trace := h.log.traced(); strings.Contains(trace, "p1") {
		t.Errorf("something was sent on top of an aborted transaction:\n%s", trace)
	}
	if got, at := h.row(0, "k"), h.checkpoint(0); got != "" || at.Offset != 0 || at.Sequence != 0 {
		t.Errorf("row %q and checkpoint %+v of an aborted transaction are on the disk", got, at)
	}
	h.log.generation++
	h.open(1)
	h.process(records("in", 0, 0, "x", "x", "x")...)
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	if got := h.log.committed("out"); !slices.Equal(got, []string{"k=1", "k=2", "k=3"}) {
		t.Errorf("outputs are %q", got)
	}
}

// TestCloseDuringFailingCommit must not commit what stands on the transaction that fails.
func TestCloseDuringFailingCommit(t *testing.T) {
	h, release := newHarness(t, "in"), make(chan struct{})
	h.log.plan = func(n int) fate {
		if n == 1 {
			return fate{wait: release, fails: true, err: commit.ErrFenced}
		}
		return fate{}
	}
	h.open(1)
	h.process(records("in", 0, 0, "x")...)
	h.awaitCommits(1)
	h.process(records("in", 0, 1, "x")...)
	closed, session := make(chan error, 1), h.session
	go func() { closed <- session.Close(context.Background(), h.done) }()
	await(t, "the gate closed", func() bool { return session.Err() != nil })
	close(release)
	if err := <-closed; !errors.Is(err, commit.ErrFenced) {
		t.Errorf("the session ended with %v, want ErrFenced", err)
	}
	if trace := h.log.traced(); strings.Contains(trace, "p1") {
		t.Errorf("something was sent on top of a failed transaction:\n%s", trace)
	}
}

// TestCloseIsCutOff ends a commit that hangs when the caller's patience ends.
func TestCloseIsCutOff(t *testing.T) {
	h, never := newHarness(t, "in"), make(chan struct{})
	h.log.plan = func(int) fate { return fate{wait: never} }
	h.open(1)
	h.process(records("in", 0, 0, "x")...)
	h.awaitCommits(1)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	began, session := time.Now(), h.session
	if err := session.Close(ctx, h.done); !errors.Is(err, context.Canceled) {
		t.Errorf("closing returned %v, want the commit cut off", err)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("closing took %s", took)
	}
}

// TestStopAtRecord commits what came before the record at which the policy stops, and nothing of it.
func TestStopAtRecord(t *testing.T) {
	h := newHarness(t, "in")
	h.policy = task.Stop
	h.config.MaxInterval = time.Hour // so that the good records and the bad one meet in one batch
	h.open(2)
	h.process(records("in", 1, 0, "x")...)
	if err := h.session.Process(0, records("in", 0, 0, "x", "x", bad, "x")); !errors.Is(err, graph.ErrRecord) {
		t.Fatalf("Process returned %v, want ErrRecord", err)
	}
	if err := h.session.Process(1, records("in", 1, 1, "x")); !errors.Is(err, commit.ErrClosed) {
		t.Errorf("Process of another partition returned %v, want ErrClosed", err)
	}
	if err := h.close(); !errors.Is(err, graph.ErrRecord) {
		t.Errorf("the session ended with %v, want ErrRecord", err)
	}
	if at := h.log.stored("in", 0); at.Next != 2 || at.Meta.StreamTime != 1001 {
		t.Errorf("committed is %+v, want offset 2 and the stream time before the bad record", at)
	}
	if got := h.log.committed("out"); !slices.Equal(got, []string{"k=1", "k=2", "k=1"}) {
		t.Errorf("outputs are %q", got)
	}
}

// TestBrokenTask never commits a layer that may hold half an effect, whenever the committing goroutine looks.
func TestBrokenTask(t *testing.T) {
	for range 100 {
		h := newHarness(t, "in")
		h.open(1)
		if err := h.session.Process(0, records("in", 0, 0, broken)); !errors.Is(err, errBroken) {
			t.Fatalf("Process returned %v, want the task's error", err)
		}
		if err := h.close(); !errors.Is(err, errBroken) {
			t.Fatalf("the session ended with %v, want the task's error", err)
		}
		if trace := h.log.traced(); trace != "" {
			t.Fatalf("something was sent:\n%s", trace)
		}
	}
}

// TestDeadLetter goes on after a record that cannot be processed.
func TestDeadLetter(t *testing.T) {
	h := newHarness(t, "in")
	h.open(1)
	h.process(records("in", 0, 0, "x", bad, "x")...)
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	if got := h.log.committed("out"); !slices.Equal(got, []string{"k=1", "k=2"}) {
		t.Errorf("outputs are %q", got)
	}
	if got := h.log.committed("app-dead-letters"); !slices.Equal(got, []string{"k=" + bad}) {
		t.Errorf("dead letters are %q", got)
	}
	if at := h.log.stored("in", 0); at.Next != 3 {
		t.Errorf("committed offset is %d, want 3", at.Next)
	}
}

// TestUnassigned refuses records of other partitions.
func TestUnassigned(t *testing.T) {
	h := newHarness(t, "in")
	h.open(1)
	if err := h.session.Process(3, records("in", 3, 0, "x")); err == nil || errors.Is(err, commit.ErrClosed) {
		t.Errorf("Process of a partition that is not assigned returned %v", err)
	}
}

// TestBackPressure makes stepping wait when the layers are full, until they are sealed.
func TestBackPressure(t *testing.T) {
	h, release := newHarness(t, "in"), make(chan struct{})
	h.log.plan = func(n int) fate {
		if n == 1 {
			return fate{wait: release}
		}
		return fate{}
	}
	h.config.MaxBytes = 1 // full after each batch of steps
	h.open(1)
	returned := make(chan error, 1)
	session := h.session
	go func() { returned <- session.Process(0, records("in", 0, 0, repeat("x", 4*32)...)) }()
	h.awaitCommits(1)
	select {
	case err := <-returned:
		t.Fatalf("Process returned %v while the layers are full", err)
	case <-time.After(20 * time.Millisecond):
	}
	// The first 32 are being committed, the next 32 fill the upper layer; no more may be stepped.
	if n := h.steps.Load(); n > 2*32 {
		t.Errorf("%d records were stepped, at most 64 have room", n)
	}
	close(release)
	if err := <-returned; err != nil {
		t.Fatal(err)
	}
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	if at := h.log.stored("in", 0); at.Next != 4*32 {
		t.Errorf("committed offset is %d", at.Next)
	}
}

// TestIdleCommitsAtOnce does not make the first record after a pause wait for others.
func TestIdleCommitsAtOnce(t *testing.T) {
	h := newHarness(t, "in")
	h.config.MaxInterval = time.Hour
	h.open(1)
	h.process(records("in", 0, 0, "x")...)
	h.awaitStored("in", 0, 1)
}
