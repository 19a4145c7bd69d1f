package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// prepareDir makes a data directory fit for the node to read.
func prepareDir(dir string, logger *slog.Logger) error {
	if _, err := os.Stat(filepath.Join(dir, "meta.properties")); err == nil {
		return fmt.Errorf("%s is the log directory of a Kafka server, not of the embedded broker: choose another directory", dir)
	}
	if err := recoverDir(dir, logger); err != nil {
		return err
	}
	// The users are those of the options, not of the last run.
	if err := os.Remove(filepath.Join(dir, "sasl.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting the last run's users: %w", err)
	}
	return markUnclean(dir)
}

// dropOpenSnapshots removes, once the node has loaded them, the summaries of
// those partitions that had an open transaction when they were written.
//
// A clean stop writes a summary of each partition, and the open transactions
// into a file that is removed when it has been read. A crash before the
// partition is written to again would find the summary, which says that a
// transaction is open, without that transaction: read_committed consumers would
// wait for its end for ever. Without the summary the partition's log is read.
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
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// mend changes requests that the node would answer wrongly.
func mend(c *kfake.Cluster) {
	// The node compares types of groups letter by letter; Java writes them large.
	c.ControlKey(kmsg.ListGroups.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		types := req.(*kmsg.ListGroupsRequest).TypesFilter
		for i := range types {
			types[i] = strings.ToLower(types[i])
		}
		return nil, nil, false
	})
}

// retentionInterval is how often records are looked for that are to be deleted.
const retentionInterval = 5 * time.Minute

// keepRetention deletes what is too old or too much, until Close.
func (b *Broker) keepRetention() {
	ticker := time.NewTicker(retentionInterval)
	defer ticker.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-ticker.C:
			b.applyRetention()
		}
	}
}

// applyRetention lets the node delete, unless there is a topic from which it
// would delete although its policy is only to compact.
func (b *Broker) applyRetention() {
	if b.dir != "" {
		text, err := os.ReadFile(filepath.Join(b.dir, "topics.json"))
		if err != nil || onlyCompacted(text) {
			return
		}
	}
	b.cluster.ApplyRetention()
}

// onlyCompacted reports whether some topic is compacted, not deleted from, and
// has a retention of its own all the same.
func onlyCompacted(text []byte) bool {
	var all struct {
		Topics []struct {
			Configs map[string]string `json:"configs"`
		} `json:"topics"`
	}
	if json.Unmarshal(text, &all) != nil {
		return true
	}
	for _, t := range all.Topics {
		if strings.Contains(t.Configs["cleanup.policy"], "delete") || !strings.Contains(t.Configs["cleanup.policy"], "compact") {
			continue
		}
		for _, limit := range []string{"retention.ms", "retention.bytes"} {
			if n, err := strconv.ParseInt(t.Configs[limit], 10, 64); err == nil && n >= 0 {
				return true
			}
		}
	}
	return false
}
