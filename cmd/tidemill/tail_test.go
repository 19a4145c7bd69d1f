package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/store"
)

func TestSinceTime(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"15m": now.Add(-15 * time.Minute), "-15m": now.Add(-15 * time.Minute), "2026-11-21T08:00:00Z": now.Add(-4 * time.Hour),
		"2026-11-21 08:00:00": now.Add(-4 * time.Hour), "2026-11-21": now.Add(-12 * time.Hour), "2026-11-21T09:00:00.5+01:00": now.Add(-4*time.Hour + 500*time.Millisecond),
	} {
		if got, err := sinceTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	if _, err := sinceTime("yesterday", now); exitCode(err) != exitUsage {
		t.Errorf("yesterday: %v; want an error of usage", err)
	}
}

func TestRecordsAreShownAsWhatTheyAre(t *testing.T) {
	record := &kgo.Record{
		Topic: "t", Partition: 3, Offset: 42, Timestamp: time.UnixMilli(1613068185765), Key: []byte("k"), Value: []byte(`{"a": 1}`),
		Headers: []kgo.RecordHeader{
			{Key: meta.Cause, Value: meta.AppendCause(nil, 3, 41)}, {Key: meta.Fingerprint, Value: []byte{1, 2, 255}}, {Key: "theirs", Value: []byte("\xff")},
		},
	}
	for _, c := range []struct {
		format     string
		key, value []byte
		want       string
	}{
		{"text", []byte("k"), []byte(`{"a": 1}`), "t/3@42  2021-02-11T18:29:45.765Z  key=k  tidemill-cause=3@41  tidemill-fingerprint=0102ff  theirs=0xff\n  {\"a\": 1}\n"},
		{"text", nil, nil, "t/3@42  2021-02-11T18:29:45.765Z  key=null  tidemill-cause=3@41  tidemill-fingerprint=0102ff  theirs=0xff\n  null\n"},
		{"text", []byte("a\x1b[2J"), []byte("\xfe"), "t/3@42  2021-02-11T18:29:45.765Z  key=\"a\\x1b[2J\"  tidemill-cause=3@41  tidemill-fingerprint=0102ff  theirs=0xff\n  0xfe\n"},
		{"json", []byte("1"), []byte(`{"a": 1}`), `{"topic":"t","partition":3,"offset":42,"timestamp":"2021-02-11T18:29:45.765Z","key":"1","headers":{"theirs":"0xff","tidemill-cause":"3@41","tidemill-fingerprint":"0102ff"},"value":{"a":1}}` + "\n"},
		{"json", nil, []byte("no json"), `{"topic":"t","partition":3,"offset":42,"timestamp":"2021-02-11T18:29:45.765Z","key":null,"headers":{"theirs":"0xff","tidemill-cause":"3@41","tidemill-fingerprint":"0102ff"},"value":"no json"}` + "\n"},
	} {
		record.Key, record.Value = c.key, c.value
		var out bytes.Buffer
		if err := printRecord(&out, record, c.format); err != nil || out.String() != c.want {
			t.Errorf("%q as %s:\n%s(%v), want\n%s", c.value, c.format, out.String(), err, c.want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	if code := exitCode(errors.New("anything")); code != exitFailure {
		t.Errorf("an error of no kind: %d", code)
	}
	if code := exitCode(errors.Join(errors.New("first"), errRefused)); code != exitRefused {
		t.Errorf("a refusal among others: %d", code)
	}
	if code := exitCode(fmt.Errorf("opening: %w", store.ErrLocked)); code != exitRefused {
		t.Errorf("a directory that another process has open: %d", code)
	}
}
