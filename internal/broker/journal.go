//go:build unix

package broker

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// noteFile holds the last transaction that was to be committed.
const noteFile = "endtxn.note"

// note is written before the node carries out a commit. The node does one
// request at a time, so only the last commit can be half done when the process
// is killed, and the note tells how to finish it.
type note struct {
	TransactionalID string       `json:"txid"`
	ProducerID      int64        `json:"pid"`
	Epoch           int16        `json:"epoch"`
	Offsets         []noteOffset `json:"offsets,omitempty"`
	// LogFile and LogLength are the node's log of producers at that time: an entry
	// behind it tells that the commit was finished.
	LogFile   uint64 `json:"log_file"`
	LogLength int64  `json:"log_length"`
}

// noteOffset is a group's offset that is part of the transaction.
type noteOffset struct {
	Group       string  `json:"g"`
	Topic       string  `json:"t"`
	Partition   int32   `json:"p"`
	Offset      int64   `json:"o"`
	LeaderEpoch int32   `json:"e"`
	Metadata    *string `json:"m,omitempty"`
}

// journal watches the requests that make up transactions and writes the notes.
// Its methods are called one at a time, by the node before it handles a request.
type journal struct {
	dir    string
	file   *os.File
	staged map[string]*note // by transactional id: what was asked for so far
	failed func(error)
}

// openJournal begins with no note: what the last one told has been seen to.
func openJournal(dir string, failed func(error)) (*journal, error) {
	f, err := os.OpenFile(filepath.Join(dir, noteFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the note of the last transaction: %w", err)
	}
	return &journal{dir: dir, file: f, staged: make(map[string]*note), failed: failed}, nil
}

// watch makes the node show its requests to the journal.
func (j *journal) watch(c *kfake.Cluster) {
	c.ControlKey(kmsg.TxnOffsetCommit.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		j.stage(req.(*kmsg.TxnOffsetCommitRequest))
		return nil, nil, false
	})
	c.ControlKey(kmsg.EndTxn.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		j.end(req.(*kmsg.EndTxnRequest))
		return nil, nil, false
	})
}

// stage remembers offsets, whether or not the node will accept them: a client
// whose offsets are refused does not commit.
func (j *journal) stage(req *kmsg.TxnOffsetCommitRequest) {
	n := j.staged[req.TransactionalID]
	if n == nil || n.ProducerID != req.ProducerID || n.Epoch != req.ProducerEpoch {
		n = &note{TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, Epoch: req.ProducerEpoch}
		j.staged[req.TransactionalID] = n
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			n.Offsets = append(n.Offsets, noteOffset{req.Group, t.Topic, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata})
		}
	}
}

func (j *journal) end(req *kmsg.EndTxnRequest) {
	n := j.staged[req.TransactionalID]
	if n == nil || n.ProducerID != req.ProducerID || n.Epoch != req.ProducerEpoch {
		n = &note{TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, Epoch: req.ProducerEpoch}
	}
	delete(j.staged, req.TransactionalID)
	if !req.Commit {
		return
	}
	n.LogFile, n.LogLength = identify(filepath.Join(j.dir, producersLog))
	data, err := json.Marshal(n)
	if err == nil {
		_, err = j.file.WriteAt(appendFrame(nil, data), 0)
	}
	if err != nil {
		j.failed(fmt.Errorf("writing the note of the last transaction: %w", err))
	}
}

// identify returns what tells a file from another of the same name, and its
// length; zeros for a missing one.
func identify(path string) (file uint64, length int64) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		file = s.Ino
	}
	return file, info.Size()
}

func (j *journal) close() error {
	if j == nil {
		return nil
	}
	return j.file.Close()
}

// readNote returns the last note, or nil if there is none that is whole: one
// that was cut off was written before its commit began.
func readNote(dir string) (*note, error) {
	raw, err := os.ReadFile(filepath.Join(dir, noteFile))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	frames, _ := parseFrames(raw)
	if len(frames) == 0 {
		return nil, nil
	}
	n := new(note)
	if err := json.Unmarshal(frames[0].data, n); err != nil {
		return nil, nil
	}
	return n, nil
}
