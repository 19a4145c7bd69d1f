package settle_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/settle"
)

var update = flag.Bool("update", false, "rewrite the transcripts")

// cluster is a coordinator and the leaders of t/0 and t/1 and of a group's offsets, as far as package settle sees them. It
// writes down what it is asked.
type cluster struct {
	told      bytes.Buffer
	epoch     int16
	committed bool            // the last transaction was, and is complete
	open      map[string]bool // where a transaction is open, by the leaders' account
	visible   map[string]bool // what markers have made of it
	added     map[string]bool // to the empty transaction
	leaves    map[string]int  // how many markers will be left out
	lost      int             // how many ends will not be answered, nor carried out
}

func newCluster() *cluster {
	return &cluster{open: map[string]bool{}, visible: map[string]bool{}, added: map[string]bool{}, leaves: map[string]int{}}
}

func (c *cluster) note(format string, args ...any) { fmt.Fprintf(&c.told, format+"\n", args...) }

func (c *cluster) Initialise(context.Context) error {
	c.epoch++
	c.committed = false
	c.note("initialise: epoch %d", c.epoch)
	return nil
}

func (c *cluster) TakeOver(ctx context.Context) (settle.Producer, error) {
	c.note("take over")
	_ = c.Initialise(ctx)
	return c.Identity(ctx)
}

func (c *cluster) Identity(context.Context) (settle.Producer, error) {
	return settle.Producer{ID: 7, Epoch: c.epoch}, nil
}

func (c *cluster) Last(context.Context) (settle.Last, error) {
	last := settle.Last{ProducerID: 7, Committed: c.committed, Open: len(c.added) > 0}
	c.note("last transaction: committed %t, open %t", last.Committed, last.Open)
	return last, nil
}

func (c *cluster) Decided(ctx context.Context) (settle.Last, error) { return c.Last(ctx) }

func (c *cluster) Existing(context.Context, []string) (settle.Partitions, error) {
	return settle.Partitions{"t": {0: {}, 1: {}}}, nil
}

func names(where settle.Places) (all []string) {
	for partition := range int32(2) {
		if _, ok := where.Partitions["t"][partition]; ok {
			all = append(all, fmt.Sprintf("t/%d", partition))
		}
	}
	if where.Group != "" {
		all = append(all, where.Group)
	}
	return all
}

func (c *cluster) Open(_ context.Context, producer int64, where settle.Places) (settle.Places, error) {
	open := settle.Places{Partitions: settle.Partitions{}}
	for partition := range int32(2) {
		if _, ok := where.Partitions["t"][partition]; ok && c.open[fmt.Sprintf("t/%d", partition)] {
			open.Partitions.Add("t", partition)
		}
	}
	if c.open[where.Group] {
		open.Group = where.Group
	}
	c.note("open of %d on %s: %s", producer, where, open)
	return open, nil
}

func (c *cluster) Passed(context.Context, settle.Sent) (bool, error) {
	c.note("passed: %t", len(c.open) == 0)
	return len(c.open) == 0, nil
}

func (c *cluster) Add(_ context.Context, who settle.Producer, where settle.Places) error {
	c.note("epoch %d adds %s", who.Epoch, where)
	for _, name := range names(where) {
		c.added[name] = true
	}
	return nil
}

func (c *cluster) End(_ context.Context, who settle.Producer, commit bool) error {
	if c.lost > 0 {
		c.lost--
		c.note("epoch %d ends it, commit %t: no answer", who.Epoch, commit)
		return context.DeadlineExceeded
	}
	c.note("epoch %d ends it, commit %t", who.Epoch, commit)
	for name := range c.added {
		if c.leaves[name]--; c.leaves[name] >= 0 {
			continue
		}
		if c.open[name] {
			c.visible[name] = commit
		}
		delete(c.open, name)
	}
	clear(c.added)
	c.committed = commit
	return nil
}

func (c *cluster) EndAgain(ctx context.Context, who settle.Producer, plainly bool) error {
	c.note("again, plainly %t", plainly)
	return c.End(ctx, who, true)
}

func (c *cluster) Pause(ctx context.Context, d time.Duration) error {
	c.note("pause %s", d)
	return ctx.Err()
}

// TestTranscripts writes down what is asked and done in each case. testdata has what was looked at and found right.
func TestTranscripts(t *testing.T) {
	for name, run := range map[string]func(*cluster, *settle.Ledger) error{
		"start": func(_ *cluster, l *settle.Ledger) error {
			l.Covers("group", "t")
			return l.Init(context.Background())
		},
		"start-after-commit": func(c *cluster, l *settle.Ledger) error {
			c.committed, c.open["t/1"], c.open["group"] = true, true, true
			l.Covers("group", "t")
			return l.Init(context.Background())
		},
		"start-after-abort": func(c *cluster, l *settle.Ledger) error {
			c.open["t/0"] = true
			l.Covers("", "t")
			return l.Init(context.Background())
		},
		"left-out-again": func(c *cluster, l *settle.Ledger) error {
			c.open["t/0"], c.leaves["t/0"] = true, 2
			l.Covers("", "t")
			return l.Init(context.Background())
		},
		"commit": func(_ *cluster, l *settle.Ledger) error { return l.Watch(context.Background(), sent) },
		"commit-left-out": func(c *cluster, l *settle.Ledger) error {
			c.committed, c.open["t/0"], c.open["group"], c.lost = true, true, true, 1
			return l.Watch(context.Background(), sent)
		},
		"unanswered": func(c *cluster, l *settle.Ledger) error {
			c.open["t/0"], c.added["t/0"] = true, true
			l.Wrote("t", 0)
			l.Doubt()
			l.Unanswered(settle.Producer{ID: 7, Epoch: c.epoch}, false)
			return l.Init(context.Background())
		},
		"abort": func(c *cluster, l *settle.Ledger) error {
			c.open["t/0"] = true
			l.Wrote("t", 0)
			return l.Aborted(context.Background())
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			if err := run(c, settle.New(c)); err != nil {
				t.Fatalf("%v\n%s", err, &c.told)
			}
			c.note("in the end open: %v, visible: %v", c.open, c.visible)
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, c.told.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(want, c.told.Bytes()) {
				t.Errorf("got\n%s\nwant\n%s", &c.told, want)
			}
		})
	}
}

var sent = settle.Sent{Last: map[string]map[int32]int64{"t": {0: 41}}, Group: "group", Offsets: settle.Partitions{"in": {0: {}}}}

// TestWatchEnds shows that a watch that finds nothing ends with its context, and says what it has waited for.
func TestWatchEnds(t *testing.T) {
	c := newCluster()
	c.open["t/0"] = true
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := settle.New(c).Watch(ctx, sent); err == nil || !bytes.Contains([]byte(err.Error()), []byte("[t/0 the offsets of group]")) {
		t.Errorf("error %v", err)
	}
}
