package topologytest

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/task"
)

// Snapshot returns the committed records of all topics but changelogs and the rows of all stores, as text for comparing.
// Offsets are left out, and so is the place of a command in an internal topic: aborted records take up offsets, too.
func (d *Driver) Snapshot() string {
	d.t.Helper()
	var out strings.Builder
	text := func(data []byte) string {
		if data == nil {
			return "null"
		}
		return strconv.Quote(string(data))
	}
	d.records(func(r *task.Record, skip func(header string) bool) {
		fmt.Fprintf(&out, "%s/%d %s=%s at %d", r.Topic, r.Partition, text(r.Key), text(r.Value), r.Timestamp)
		for _, header := range r.Headers {
			if !skip(header.Key) {
				fmt.Fprintf(&out, " %s:%s", header.Key, text(header.Value))
			}
		}
		out.WriteString("\n")
	})
	d.allRows(func(spec *graph.Store, store string, key, value []byte) {
		if timestamp, plain, ok := graph.SplitRow(value); ok && spec.Timestamped && store == spec.Name {
			fmt.Fprintf(&out, "store %s %s=%s at %d\n", store, text(key), text(plain), timestamp)
			return
		}
		fmt.Fprintf(&out, "store %s %s=%s\n", store, text(key), text(value))
	})
	return out.String()
}

// digest returns a hash of what Snapshot says.
func (d *Driver) digest(seed maphash.Seed) uint64 {
	var hash maphash.Hash
	hash.SetSeed(seed)
	var number [8]byte
	write := func(data []byte) {
		length := int64(len(data))
		if data == nil {
			length = -1
		}
		binary.BigEndian.PutUint64(number[:], uint64(length))
		_, _ = hash.Write(number[:])
		_, _ = hash.Write(data)
	}
	d.records(func(r *task.Record, skip func(header string) bool) {
		_, _ = hash.WriteString(r.Topic)
		write(r.Key)
		write(r.Value)
		binary.BigEndian.PutUint64(number[:], uint64(r.Timestamp)^uint64(r.Partition)<<48)
		_, _ = hash.Write(number[:])
		for _, header := range r.Headers {
			if !skip(header.Key) {
				_, _ = hash.WriteString(header.Key)
				write(header.Value)
			}
		}
	})
	d.allRows(func(_ *graph.Store, store string, key, value []byte) {
		_, _ = hash.WriteString(store)
		write(key)
		write(value)
	})
	return hash.Sum64()
}

// records visits the committed records of all topics but changelogs, by topic and partition. skip tells which headers say
// where something lies in an internal topic.
func (d *Driver) records(visit func(r *task.Record, skip func(header string) bool)) {
	changelogs, internal := map[string]bool{}, false
	for _, sub := range d.graph.SubTopologies {
		for _, spec := range sub.Stores {
			changelogs[spec.Changelog] = true
		}
		for _, source := range sub.Sources {
			internal = internal || source.Topic.Internal
		}
	}
	skip := func(header string) bool { return internal && (header == meta.Cause || header == meta.DeadOffset) }
	names := make([]string, 0, len(d.log.topics))
	for name := range d.log.topics {
		if !changelogs[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, segment := range d.log.topics[name] {
			for e, ok := segment.next(0); ok; e, ok = segment.next(e.record.Offset + 1) {
				visit(&e.record, skip)
			}
		}
	}
}

// allRows visits the rows of all stores.
func (d *Driver) allRows(visit func(spec *graph.Store, store string, key, value []byte)) {
	for _, sub := range d.graph.SubTopologies {
		for _, spec := range sub.Stores {
			for _, store := range append([]string{spec.Name}, spec.DerivedStores...) {
				for _, row := range d.rows(sub, store) {
					visit(spec, store, row[0], row[1])
				}
			}
		}
	}
}

// firstDifference names the first line in which two texts differ.
func firstDifference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := 0; i < len(a) || i < len(b); i++ {
		x, y := "(nothing)", "(nothing)"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return fmt.Sprintf("line %d\nwithout it: %s\nwith it:    %s", i+1, x, y)
		}
	}
	return "no difference"
}
