package follow

import (
	"testing"

	"github.com/tidemill/tidemill/internal/meta"
)

// FuzzDecode: whatever stands in the topics of outcomes and commands, it is traced back or left aside, and an entry has a
// command or a place to go by.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"id":"r","parent-id":"c","data":{"kind":"invalid","reason":"no"}}`), []byte("c"), []byte{1, 2}, "in", "0", "7")
	f.Add([]byte(`{"id":`), []byte{}, []byte{}, "in", "-1", "9223372036854775808")
	f.Add([]byte(nil), []byte("\xff"), []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9}, "other", "", "")
	f.Fuzz(func(t *testing.T, value, command, cause []byte, topic, partition, offset string) {
		topics := &Topics{Commands: "in", CommandID: func(value []byte) string { return string(value[:min(4, len(value))]) }}
		r := &Record{Topic: "out", Value: value, Headers: []Header{
			{meta.Command, command},
			{meta.Cause, cause},
			{meta.DeadTopic, []byte(topic)},
			{meta.DeadPartition, []byte(partition)},
			{meta.DeadOffset, []byte(offset)},
		}}
		for _, kind := range []Kind{Event, Rejection, DeadLetter} {
			entry, ok := topics.decodeEntry(kind, r)
			if !ok {
				continue
			}
			if entry.Kind != kind || entry.Cause.Partition < 0 || entry.Cause.Offset < 0 {
				t.Errorf("kind %d gives %+v", kind, entry)
			}
			if kind == DeadLetter && topic != "in" {
				t.Errorf("a dead letter of %q is an outcome of a command", topic)
			}
			if kind != DeadLetter && entry.Command == "" {
				t.Errorf("an outcome of no command: %+v", entry)
			}
		}
		if c := topics.decodeCommand(r); len(command) > 0 && c.ID != string(command) {
			t.Errorf("the command's id is %q", c.ID)
		}
	})
}
