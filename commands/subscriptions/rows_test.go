package subscriptions

import (
	"reflect"
	"testing"

	"github.com/tidemill/tidemill/commands/internal/follow"
)

func TestRowsRoundTrip(t *testing.T) {
	place := follow.Place{Partition: 7, Offset: 1 << 40}
	c := command{seen: -5, Command: follow.Command{
		Place: place, ID: "id", Key: []byte("key"), Fingerprint: []byte{1, 2}, Principal: "ada", Timestamp: 1_700_000_000_000,
	}}
	if got, err := parseCommand(place, appendCommand(nil, &c)); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("command %+v, %v", got, err)
	}
	c.Tag = "alice"
	if got, err := parseCommand(place, appendCommand(nil, &c)); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("tagged command %+v, %v", got, err)
	}
	e := follow.Entry{
		Kind: follow.Rejection, Topic: "app-rejections", Partition: 2, Offset: 9, Cause: place, Command: "id", Key: []byte{},
		ID: "x", Why: "conflict", Reason: "because", Timestamp: -1,
	}
	if got, err := parseEntry(appendEntryKey(nil, &e), appendEntry(nil, &e)); err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("entry %+v, %v", got, err)
	}
	f := floor{offset: 12, since: -3}
	if got, err := parseFloor(appendFloor(nil, f)); err != nil || got != f {
		t.Errorf("floor %+v, %v", got, err)
	}
}

func FuzzRows(f *testing.F) {
	e := follow.Entry{Kind: follow.Event, Topic: "t", Command: "id", Key: []byte("k")}
	f.Add(appendEntryKey(nil, &e), appendEntry(nil, &e))
	f.Add([]byte{}, appendCommand(nil, &command{Command: follow.Command{ID: "x"}}))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if got, err := parseEntry(key, value); err == nil {
			again, err := parseEntry(appendEntryKey(nil, &got), appendEntry(nil, &got))
			if err != nil || !reflect.DeepEqual(again, got) {
				t.Fatalf("%+v became %+v, %v", got, again, err)
			}
		}
		if got, err := parseCommand(follow.Place{}, value); err == nil {
			again, err := parseCommand(follow.Place{}, appendCommand(nil, &got))
			if err != nil || !reflect.DeepEqual(again, got) {
				t.Fatalf("%+v became %+v, %v", got, again, err)
			}
		}
		_, _ = parseFloor(value)
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("0.17_3.4")
	f.Fuzz(func(t *testing.T, text string) {
		at, err := parseCursor(text)
		if err != nil {
			return
		}
		again, err := parseCursor(at.String())
		if err != nil || !reflect.DeepEqual(again, at) {
			t.Fatalf("%q is %v, which prints as %q", text, at, at.String())
		}
	})
}
