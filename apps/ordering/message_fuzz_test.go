package ordering_test

import (
	"bytes"
	"testing"

	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/codecs"
)

// again wants that what decodes is written in a form that decodes to the same.
func again[T any](t *testing.T, codec codecs.Codec[T], data []byte) {
	t.Helper()
	value, err := codec.Decode(data)
	if err != nil {
		return
	}
	text, err := codec.Append(nil, value)
	if err != nil {
		t.Fatalf("%q decodes to %+v, which cannot be written: %v", data, value, err)
	}
	read, err := codec.Decode(text)
	if err != nil {
		t.Fatalf("%q is written as %q: %v", data, text, err)
	}
	if twice, err := codec.Append(nil, read); err != nil || !bytes.Equal(text, twice) {
		t.Fatalf("%q is written as %q and then as %q, %v", data, text, twice, err)
	}
}

// FuzzMessages: commands, events and rows of ordering.
func FuzzMessages(f *testing.F) {
	f.Add([]byte(`{"id":"c","action":"PlaceOrder","data":{"orderId":"o","customerId":"a","itemLabel":"tea","itemPrice":"4.99"},"timestamp":1}`))
	f.Add([]byte(`{"id":"e","parent-id":"c","action":"OrderPlaced","data":{"orderId":"o","customerId":"a","itemLabel":"tea","itemPrice":4.99,"placed-at":1},"timestamp":1}`))
	f.Add([]byte(`{"label":"tea","price":5.00,"placed-at":-1}`))
	f.Add([]byte(`{"count":1e3,"total":"50.00"}`))
	f.Add([]byte(`{"itemPrice":1e400}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		again(t, ordering.Commands.Value(), data)
		again(t, ordering.Events.Value(), data)
		again(t, codecs.JSON[ordering.Listed](), data)
		again(t, codecs.JSON[ordering.Totals](), data)
	})
}
