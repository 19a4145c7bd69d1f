package commit_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/commit"
)

var errLost = errors.New("connection reset")

// unknown plans that the first transaction's end is not answered.
func unknown(what fate) func(int) fate {
	what.unknown, what.err = true, errLost
	return func(n int) fate {
		if n == 1 {
			return what
		}
		return fate{}
	}
}

// TestUnknownButCommitted goes on when the stable offsets say that the transaction has happened (rule 4).
func TestUnknownButCommitted(t *testing.T) {
	h := newHarness(t, "in")
	h.log.plan = unknown(fate{happens: true})
	h.open(2)
	h.process(records("in", 0, 0, "x")...)
	h.awaitStored("in", 0, 1)
	h.process(records("in", 1, 0, "x")...)
	h.process(records("in", 0, 1, "x")...)
	if err := h.close(); err != nil {
		t.Fatalf("the session ended with %v", err)
	}
	trace := h.log.traced()
	recovered, read := strings.Index(trace, "p0 recover"), strings.Index(trace, "read the stable offsets")
	if recovered < strings.Index(trace, "no answer") || read < recovered || strings.Contains(trace[:read], "p1") {
		t.Errorf("want the id initialised again, then the offsets read, then the next transaction:\n%s", trace)
	}
	if got := h.log.committed("out"); !slices.Equal(got, []string{"k=1", "k=2", "k=1"}) {
		t.Errorf("outputs are %q", got)
	}
	if at := h.checkpoint(0); at.Sequence != 2 || at.Offset != 2 || h.row(0, "k") != "2" {
		t.Errorf("checkpoint %+v, row %s", at, h.row(0, "k"))
	}
}

// TestUnknownAndAborted ends the session when the stable offsets say that the transaction has not happened.
func TestUnknownAndAborted(t *testing.T) {
	h := newHarness(t, "in")
	h.log.plan = unknown(fate{})
	h.open(1)
	h.process(records("in", 0, 0, "x")...)
	h.awaitEnd()
	if err := h.close(); !errors.Is(err, commit.ErrAborted) || !errors.Is(err, errLost) {
		t.Errorf("the session ended with %v, want ErrAborted and the cause", err)
	}
	if h.row(0, "k") != "" {
		t.Errorf("row %s is on the disk", h.row(0, "k"))
	}
	h.log.generation++
	h.open(1)
	h.process(records("in", 0, 0, "x")...)
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	if got := h.log.committed("out"); !slices.Equal(got, []string{"k=1"}) {
		t.Errorf("outputs are %q", got)
	}
}

// TestUnknownAndTorn tells when a transaction has happened for some tasks only.
func TestUnknownAndTorn(t *testing.T) {
	h := newHarness(t, "in")
	h.log.plan = unknown(fate{torn: 1})
	release := make(chan struct{})
	first := h.log.plan
	h.log.plan = func(n int) fate {
		what := first(n)
		what.wait = release
		return what
	}
	h.config.MaxBytes = 1 << 20
	h.open(2)
	// Both tasks must be in one transaction: the gate is held shut by a step until both have stepped.
	go func() { _ = h.session.Process(0, records("in", 0, 0, pause)) }()
	<-h.paused
	h.process(records("in", 1, 0, "x")...)
	close(h.resume)
	close(release)
	h.awaitEnd()
	if err := h.close(); !errors.Is(err, commit.ErrTorn) {
		t.Errorf("the session ended with %v, want ErrTorn", err)
	}
}

// TestUnknownAndFencedBefore leaves the id alone that another process may have by now.
func TestUnknownAndFencedBefore(t *testing.T) {
	h := newHarness(t, "in")
	h.log.plan = unknown(fate{meanwhile: func() { h.log.generation++ }})
	h.open(1)
	h.process(records("in", 0, 0, "x")...)
	h.awaitEnd()
	if err := h.close(); !errors.Is(err, commit.ErrFenced) {
		t.Errorf("the session ended with %v, want ErrFenced", err)
	}
	if trace := h.log.traced(); strings.Contains(trace, "recover") {
		t.Errorf("the id was taken from its owner:\n%s", trace)
	}
}

// TestUnknownAndFenced does not take another owner's commit of the same sequence for its own.
func TestUnknownAndFenced(t *testing.T) {
	h := newHarness(t, "in")
	h.log.plan = unknown(fate{})
	h.log.recovering = func() {
		// Somebody has gone on from the last commit, with a batch of its own, while we find out.
		h.log.generation++
		h.log.set(commit.Offset{Topic: "in", Offset: 7, Metadata: "1:1:5"})
	}
	h.open(1)
	h.process(records("in", 0, 0, "x")...)
	h.awaitEnd()
	if err := h.close(); !errors.Is(err, commit.ErrFenced) {
		t.Errorf("the session ended with %v, want ErrFenced", err)
	}
	if h.row(0, "k") != "" || h.checkpoint(0).Offset != 0 {
		t.Errorf("row %s and checkpoint %+v are on the disk", h.row(0, "k"), h.checkpoint(0))
	}
}
