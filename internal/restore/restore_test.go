package restore_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/restore"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

const (
	changelog = "app-counts-changelog"
	week      = 7 * 24 * time.Hour
)

var place = commit.Place{Topic: changelog}

// source is a changelog of one partition: the record at offset n puts the row "k" to n, in the commit of sequence n+1.
type source struct {
	records int64
	fenced  error // what Current answers
	asked   int   // how often it was
	read    int64 // how many records were read
}

// Bounds implements restore.Source.
func (s *source) Bounds(context.Context, []string) (starts, ends map[commit.Place]int64, err error) {
	return map[commit.Place]int64{}, map[commit.Place]int64{place: s.records}, nil
}

// Current implements restore.Source, and commit.Offsets with Committed.
func (s *source) Current(context.Context) error {
	s.asked++
	return s.fenced
}

// Read implements restore.Source.
func (s *source) Read(_ context.Context, pending map[commit.Place]*restore.Store) error {
	for !pending[place].Done() {
		offset := pending[place].Next()
		s.read++
		record := task.Record{
			Topic: changelog, Offset: offset, Key: []byte("k"), Value: strconv.AppendInt(nil, offset, 10),
			Headers: []graph.Header{{Key: meta.Changelog, Value: task.AppendChangelog(nil, uint64(offset+1), nil)}},
		}
		if err := pending[place].Apply(record, false); err != nil {
			return err
		}
	}
	return pending[place].Flush()
}

func run(engine store.Engine, s *source, at restore.Standing) error {
	r := restore.New(restore.Config{TombstoneAge: week, Now: func() time.Time { return time.UnixMilli(0).Add(week) }})
	r.Add(0, []*graph.Store{{Name: "counts", Changelog: changelog}}, engine, at)
	return r.Run(context.Background(), s)
}

// TestPassedOver writes no checkpoint above records that were passed over, unless the group has not gone on: then they are of
// a transaction that reached its changelog only in part.
func TestPassedOver(t *testing.T) {
	engine, fenced := store.NewMemory(), &source{records: 5, fenced: commit.ErrFenced}
	if err := run(engine, fenced, restore.Standing{Found: true, Sequence: 3}); !errors.Is(err, commit.ErrFenced) {
		t.Errorf("a restore on old offsets ended with %v, want ErrFenced", err)
	}
	if at, ok := engine.Checkpoint(changelog); ok {
		t.Errorf("it has left the checkpoint %+v", at)
	}
	torn := &source{records: 5}
	if err := run(engine, torn, restore.Standing{Found: true, Sequence: 3}); err != nil || torn.asked == 0 {
		t.Errorf("a restore over a torn transaction ended with %v and asked %d times", err, torn.asked)
	}
	value, _, err := engine.Get("counts", []byte("k"))
	if at, _ := engine.Checkpoint(changelog); err != nil || string(value) != "2" || at.Offset != 5 || at.Sequence != 3 {
		t.Errorf("the row is %q (%v) at %+v, want 2 at offset 5", value, err, at)
	}
}

// TestAgeOfCheckpoints is rule 9: what is nearly as old as tombstones live is restored from the beginning, and so is what a
// wrong clock has dated in the future.
func TestAgeOfCheckpoints(t *testing.T) {
	for name, c := range map[string]struct {
		age  time.Duration
		read int64
	}{
		"young":                   {time.Hour, 1},
		"six days":                {6 * 24 * time.Hour, 1},
		"within the margin":       {week - 10*time.Hour, 5},
		"old":                     {week, 5},
		"a clock a little ahead":  {-time.Hour, 1},
		"dated far in the future": {-24 * time.Hour, 5},
	} {
		t.Run(name, func(t *testing.T) {
			engine, batch := store.NewMemory(), store.NewBatch()
			batch.SetCheckpoint(store.Checkpoint{Changelog: changelog, Offset: 4, Sequence: 4, WrittenAt: (week - c.age).Milliseconds()})
			if err := engine.Apply(batch); err != nil {
				t.Fatal(err)
			}
			s := &source{records: 5}
			if err := run(engine, s, restore.Standing{Found: true, Sequence: 5}); err != nil {
				t.Fatal(err)
			}
			if s.read != c.read {
				t.Errorf("%d records were read, want %d", s.read, c.read)
			}
		})
	}
}

// offsets is a group that has gone on, or not.
type offsets struct{ fenced error }

// Committed implements commit.Offsets.
func (offsets) Committed(context.Context, string, []string) (map[commit.Place]commit.StoredOffset, error) {
	return nil, errors.New("not asked for")
}

// Current implements commit.Offsets.
func (o offsets) Current(context.Context, commit.Member) error { return o.fenced }

// TestFinal ends a processor for good only if what it has read of the group is still so.
func TestFinal(t *testing.T) {
	lost := run(store.NewMemory(), &source{records: 5}, restore.Standing{})
	if !errors.Is(lost, restore.ErrNoCommittedOffset) {
		t.Fatalf("a changelog without an offset gives %v", lost)
	}
	if err := restore.Final(t.Context(), offsets{}, commit.Member{}, lost); !errors.Is(err, restore.ErrNoCommittedOffset) {
		t.Errorf("in its generation: %v", err)
	}
	if err := restore.Final(t.Context(), offsets{commit.ErrFenced}, commit.Member{}, lost); !errors.Is(err, commit.ErrFenced) || errors.Is(err, restore.ErrNoCommittedOffset) {
		t.Errorf("after it: %v", err)
	}
}
