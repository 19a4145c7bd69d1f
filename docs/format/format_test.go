// Package format_test holds the byte examples of these documents against the code.
package format_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/share"
	"github.com/tidemill/tidemill/internal/task"
	"github.com/tidemill/tidemill/internal/token"
)

// TestExamples looks for each example, made by the code, on a line of its own in its document.
func TestExamples(t *testing.T) {
	for _, example := range []struct{ document, text string }{
		{"headers.md", spaced(meta.AppendCause(nil, 3, 1000))},
		{"offset-metadata.md", meta.Offset{Sequence: 42, StreamTime: 1_700_000_000_000}.String()},
		{"changelog.md", spaced(task.AppendChangelog(nil, 300, nil))},
		{"changelog.md", spaced(task.AppendChangelog(nil, 5, append(binary.BigEndian.AppendUint64(nil, 0x0102030405060708), "\xac\x02c1"...)))},
		{"row.md", spaced(encoded(codecs.OrderedString(), "al\x00ice"))},
		{"row.md", spaced(encoded(codecs.Descending(codecs.OrderedString()), "a\x00"))},
		{"row.md", spaced(encoded(codecs.OrderedInt64(), 1_700_000_000_000))},
		{"row.md", spaced(encoded(codecs.Descending(codecs.OrderedInt64()), 1_700_000_000_000))},
		{"row.md", spaced(encoded(codecs.OrderedDecimal(), units(1250)))},
		{"row.md", spaced(encoded(codecs.OrderedDecimal(), units(-1250)))},
		{"row.md", spaced(encoded(codecs.OrderedDecimal(), units(0)))},
		{"row.md", spaced(encoded(orders, codecs.Row[string, placed]{Partition: "alice", Sort: placed{First: "cheap", Second: time.UnixMilli(1_700_000_000_000), Third: "o1"}}))},
		{"sharing.md", encodedBy(share.Member{
			Instance: "a", URL: "http://10.0.0.7:9002", Scope: "orders-changelog", Partitions: 2, Standbys: 1, Capacity: 1, Generation: 7, Owned: []int32{0},
			Standby: []int32{1}, Copies: []share.Copy{{Partition: 0, Ready: true, Position: 120}, {Partition: 1, Position: 80}},
		}.Append)},
		{"sharing.md", encodedBy(share.Map{
			Instances:  []share.Instance{{Name: "a", URL: "http://10.0.0.7:9002"}, {Name: "b", URL: "http://10.0.0.8:9002"}},
			Partitions: []share.Holders{{Owner: "a", Standbys: []string{"b"}}, {Owner: "b", Warming: []string{"a"}}},
		}.Append)},
		{"token.md", token.Token{Topic: "calculator-commands", Partition: 1, Offset: 7}.String()},
	} {
		text, err := os.ReadFile(example.document)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "\n    "+example.text+"\n") {
			t.Errorf("%s has no line %q", example.document, "    "+example.text)
		}
	}
}

// TestHeadersAreDocumented looks for each header of the framework in headers.md or dead-letter.md.
func TestHeadersAreDocumented(t *testing.T) {
	var text strings.Builder
	for _, document := range []string{"headers.md", "dead-letter.md"} {
		content, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(content)
	}
	for _, header := range []string{
		meta.Command, meta.Cause, meta.Fingerprint, meta.Principal, meta.Changelog, meta.DeadTopic, meta.DeadPartition,
		meta.DeadOffset, meta.DeadTimestamp, meta.DeadKind, meta.DeadError, meta.DeadNode,
	} {
		if !strings.Contains(text.String(), "| `"+header+"` |") {
			t.Errorf("header %s is in no table", header)
		}
	}
}

func TestChangelogHeader(t *testing.T) {
	for _, extra := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte{0xff}, 300)} {
		for _, sequence := range []uint64{0, 1, 127, 128, 1 << 63} {
			data := task.AppendChangelog(nil, sequence, extra)
			gotSequence, gotExtra, err := task.ParseChangelog(data)
			if err != nil || gotSequence != sequence || !bytes.Equal(gotExtra, extra) {
				t.Errorf("ParseChangelog(%x) = %d, %x, %v; want %d, %x", data, gotSequence, gotExtra, err, sequence, extra)
			}
		}
	}
	for _, data := range [][]byte{nil, {0x80}, bytes.Repeat([]byte{0xff}, 11)} {
		if _, _, err := task.ParseChangelog(data); err == nil {
			t.Errorf("ParseChangelog(%x) found no fault", data)
		}
	}
}

func FuzzParseChangelog(f *testing.F) {
	f.Add(task.AppendChangelog(nil, 300, []byte("extra")))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		sequence, extra, err := task.ParseChangelog(data)
		if err != nil {
			return
		}
		again, more, err := task.ParseChangelog(task.AppendChangelog(nil, sequence, extra))
		if err != nil || again != sequence || !bytes.Equal(more, extra) {
			t.Fatalf("%x reads as %d, %x; written again it reads as %d, %x, %v", data, sequence, extra, again, more, err)
		}
	})
}

type placed = codecs.Tuple3[string, time.Time, string]

// orders is the row of row.md.
var orders = codecs.Rows(codecs.OrderedString(), codecs.OrderedTuple3(codecs.OrderedString(), codecs.Descending(codecs.OrderedTime()), codecs.OrderedString()))

func encoded[T any](codec codecs.Codec[T], value T) []byte {
	data, err := codec.Append(nil, value)
	if err != nil {
		return []byte(err.Error())
	}
	return data
}

func units(pence int64) codecs.Decimal {
	price, _ := codecs.DecimalFromUnits(pence, 2)
	return price
}

func spaced(data []byte) string { return fmt.Sprintf("% x", data) }

// encodedBy returns what an Append appends, as text.
func encodedBy(appendTo func([]byte) ([]byte, error)) string {
	text, err := appendTo(nil)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
