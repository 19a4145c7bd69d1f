package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"
)

// Files of the data directory.
const (
	cleanFile    = "CLEAN" // there if the last stop was a clean one
	producersLog = "pids.log"
	groupsLog    = "groups.log"
	sessionFile  = "session_state.json"
)

// recoverDir makes transactions whole after the process was killed, before the
// node reads the directory. By itself the node would take a transaction that it
// was about to commit for committed in some partitions and aborted in others,
// would drop its offsets, and would tell its producer that all went well.
//
// The one commit that may be half done is finished: see note. Every other
// transaction that was open is aborted, with a marker in each of its partitions:
// the node only counts a transaction without an end as aborted, and forgets
// that when the producer's next one is committed. Then every transactional
// producer is fenced, so that it learns what became of its transaction.
func recoverDir(dir string, logger *slog.Logger) error {
	if _, err := os.Stat(filepath.Join(dir, "meta.json")); os.IsNotExist(err) {
		return nil // a new directory
	}
	if _, err := os.Stat(filepath.Join(dir, cleanFile)); err == nil {
		return nil
	}
	began := time.Now()
	r := recovery{dir: dir}
	if err := r.run(); err != nil {
		return fmt.Errorf("recovering the data directory %s after an unclean stop: %w", dir, err)
	}
	if logger != nil {
		logger.Info("the data directory was recovered after an unclean stop",
			"committed_markers", r.committed, "aborted_markers", r.aborted, "offsets", r.offsets, "took", time.Since(began))
	}
	return nil
}

type recovery struct {
	dir                         string
	producers                   map[int64]producer
	ids                         []int64 // of producers, in the order of the log
	finish                      *note   // the commit to be finished, nil if none is half done
	committed, aborted, offsets int
}

// producer is the last entry of a transactional producer in the node's log.
type producer struct {
	Type    string `json:"type"`
	PID     int64  `json:"pid"`
	Epoch   int16  `json:"epoch"`
	TxID    string `json:"txid,omitempty"`
	Timeout int32  `json:"timeout,omitempty"`
	Commit  *bool  `json:"commit,omitempty"`
}

func (r *recovery) run() error {
	if err := os.Remove(filepath.Join(r.dir, sessionFile)); err != nil && !os.IsNotExist(err) {
		return err // it tells of transactions that are aborted below
	}
	n, err := readNote(r.dir)
	if err != nil {
		return err
	}
	if err := r.readProducers(n); err != nil {
		return fmt.Errorf("reading the log of producers: %w", err)
	}
	if err := r.endTransactions(); err != nil {
		return err
	}
	if err := r.commitOffsets(); err != nil {
		return fmt.Errorf("completing the offsets of the last transaction: %w", err)
	}
	if err := r.fenceProducers(); err != nil {
		return fmt.Errorf("fencing the producers: %w", err)
	}
	return nil
}

// readProducers reads the log of producers and decides whether the last commit
// is half done: its producer is still at the note's epoch, and the log, which is
// still the same file, does not tell of its end. A log written anew was written
// after that.
func (r *recovery) readProducers(n *note) error {
	path := filepath.Join(r.dir, producersLog)
	frames, err := readFrames(path)
	if err != nil {
		return err
	}
	r.producers = make(map[int64]producer)
	file, _ := identify(path)
	ended := n != nil && file != n.LogFile
	for _, f := range frames {
		var p producer
		if json.Unmarshal(f.data, &p) != nil {
			continue
		}
		if p.Type == "init" {
			if _, ok := r.producers[p.PID]; !ok {
				r.ids = append(r.ids, p.PID)
			}
			r.producers[p.PID] = p
			continue
		}
		ended = ended || n != nil && p.PID == n.ProducerID && p.Epoch == n.Epoch && f.at >= n.LogLength
		if known, ok := r.producers[p.PID]; ok {
			known.Epoch = p.Epoch
			r.producers[p.PID] = known
		}
	}
	if n == nil || ended {
		return nil
	}
	if p, ok := r.producers[n.ProducerID]; ok && p.Epoch == n.Epoch && p.TxID == n.TransactionalID {
		r.finish = n
	}
	return nil
}

// endTransactions writes the missing markers.
func (r *recovery) endTransactions() error {
	dirs, err := filepath.Glob(filepath.Join(escapeGlob(r.dir), "partitions", "*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		l, err := scanPartition(dir)
		if err != nil {
			return err
		}
		if l == nil {
			continue
		}
		for id, epoch := range l.open {
			commit := r.finish != nil && r.finish.ProducerID == id && r.finish.Epoch == epoch
			if err := l.end(id, epoch, commit); err != nil {
				return err
			}
			if commit {
				r.committed++
			} else {
				r.aborted++
			}
		}
	}
	return nil
}

// groupEntry is a committed offset in the node's log of groups.
type groupEntry struct {
	Type       string  `json:"type"`
	Group      string  `json:"g"`
	Topic      string  `json:"t,omitempty"`
	Part       int32   `json:"p,omitempty"`
	Offset     int64   `json:"o,omitempty"`
	Epoch      int32   `json:"e,omitempty"`
	Metadata   *string `json:"m,omitempty"`
	LastCommit *int64  `json:"lc,omitempty"`
}

type groupPartition struct {
	group, topic string
	partition    int32
}

// commitOffsets writes those offsets of the half-done commit that are missing.
// One that the group has passed is left alone.
func (r *recovery) commitOffsets() error {
	path := filepath.Join(r.dir, groupsLog)
	frames, err := readFrames(path)
	if err != nil || r.finish == nil {
		return err
	}
	stands := make(map[groupPartition]int64)
	for _, f := range frames {
		var e groupEntry
		if json.Unmarshal(f.data, &e) != nil {
			continue
		}
		switch at := (groupPartition{e.Group, e.Topic, e.Part}); e.Type {
		case "commit":
			stands[at] = e.Offset
		case "delete":
			delete(stands, at)
		}
	}
	var missing []byte
	now := time.Now().UnixMilli()
	for _, o := range r.finish.Offsets {
		if at, ok := stands[groupPartition{o.Group, o.Topic, o.Partition}]; ok && at > o.Offset {
			continue
		}
		data, err := json.Marshal(groupEntry{"commit", o.Group, o.Topic, o.Partition, o.Offset, o.LeaderEpoch, o.Metadata, &now})
		if err != nil {
			return err
		}
		missing = appendFrame(missing, data)
		r.offsets++
	}
	return appendFile(path, missing)
}

// fenceProducers gives every transactional producer the next epoch. Its last
// outcome is set to aborted, so that the old epoch's commit is refused and not
// taken for the repetition of one that went well.
func (r *recovery) fenceProducers() error {
	var entries []byte
	for _, id := range r.ids {
		p := r.producers[id]
		if p.TxID == "" {
			continue
		}
		if p.Epoch < math.MaxInt16 {
			p.Epoch++
		}
		aborted := false
		p.Type, p.Commit = "init", &aborted
		data, err := json.Marshal(p)
		if err != nil {
			return err
		}
		entries = appendFrame(entries, data)
	}
	return appendFile(filepath.Join(r.dir, producersLog), entries)
}

// markClean tells the next start that nothing need be recovered.
func markClean(dir string) error {
	return os.WriteFile(filepath.Join(dir, cleanFile), []byte("stopped cleanly\n"), 0o644)
}

// markUnclean is called before the node takes its first request.
func markUnclean(dir string) error {
	if err := os.Remove(filepath.Join(dir, cleanFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("marking the data directory as in use: %w", err)
	}
	return nil
}
