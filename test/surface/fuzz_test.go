package surface

import (
	"strconv"
	"testing"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
)

// post is a request with a body.
func post(head, body string, headers string) []byte {
	return []byte(head + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + headers + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
}

// get is one without.
func get(target, headers string) []byte {
	return []byte("GET " + target + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n")
}

// config is what a system is made from, on a broker and in a directory of its own.
func config(f *testing.F, b kafkatest.Broker) service.Config {
	return service.Config{
		Kafka: kafka.Config{Brokers: b.Brokers()}, Dir: f.TempDir(), Processor: processors.Config{CreateTopics: true},
	}
}

func FuzzCalculator(f *testing.F) {
	b := kafkatest.Embedded(f)
	components, err := calculator.Everything(calculator.Config{Config: config(f, b)})
	if err != nil {
		f.Fatal(err)
	}
	s := start(f, b, calculator.Commands.Name(), components)
	for _, raw := range [][]byte{
		post("POST /values", `{"value":3}`, "Idempotency-Key: k\r\n"),
		post("POST /values", `{"value":3,"value_id":"8e03978e-40d5-43e8-bc93-6894a57f9324"}`, "Prefer: respond-async\r\n"),
		post("PUT /values/8e03978e-40d5-43e8-bc93-6894a57f9324", `{"operation":"MULTIPLY","value":1e308}`, "Prefer: wait=0.1\r\n"),
		post("PUT /values/none", `{"operation":"ADD","value":-0.5}`, ""),
		post("POST /values", `{"value":NaN}`, "Idempotency-Key: \"\r\n"),
		post("DELETE /values/a", ``, ""),
		get("/values/8e03978e-40d5-43e8-bc93-6894a57f9324", "If-None-Match: W/\"x\", *\r\n"),
		get("/values?limit=3&cursor=AAAA&order=desc", ""),
		get("/values?prefix=a&count", "Tidemill-Token: calculator-commands-0-1\r\nPrefer: wait=1\r\n"),
		get("/values", "Accept: text/event-stream\r\nLast-Event-ID: AAAA\r\n"),
		get("/values/a%2Fb/history?limit=1", ""),
		get("/commands/c?token=calculator-commands-0-9", "Prefer: wait=1\r\n"),
		get("/commands?status=rejected&after=AAAA", "Accept: text/event-stream\r\n"),
		get("/outcomes", "Last-Event-ID: 0-1\r\n"),
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) { s.send(t, raw) })
}

func FuzzOrdering(f *testing.F) {
	b := kafkatest.Embedded(f)
	config := ordering.Config{Config: config(f, b)}
	components, err := ordering.CommandService(config)
	if err != nil {
		f.Fatal(err)
	}
	query, err := ordering.QueryService(config)
	if err != nil {
		f.Fatal(err)
	}
	s := start(f, b, ordering.Commands.Name(), append(components, query...))
	for _, raw := range [][]byte{
		post("POST /orders", `{"customerId":"alice","itemLabel":"tea","itemPrice":4.99}`, "Idempotency-Key: k\r\n"),
		post("POST /orders", `{"orderId":"o","customerId":"alice","itemLabel":"tea","itemPrice":"50.00"}`, "Prefer: respond-async\r\n"),
		post("POST /orders", `{"customerId":"","itemLabel":"\u0000","itemPrice":1e999999}`, ""),
		post("DELETE /orders/o?customerId=alice", ``, "Prefer: wait=0.1\r\n"),
		get("/orders?customerId=alice&price=CHEAP", ""),
		get("/customers/alice/orders", "If-None-Match: \"x\"\r\n"),
		get("/customers/alice/orders/AFFORDABLE?sort=price&order=desc&limit=2&cursor=AAAA", ""),
		get("/customers/alice/changes?snapshot=orders", "Accept: text/event-stream\r\nLast-Event-ID: AAAA\r\n"),
		get("/commands/c?token=ordering-commands-0-9", "Prefer: wait=1\r\n"),
		get("/outcomes?tag=alice", "Accept: text/event-stream\r\n"),
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) { s.send(t, raw) })
}
