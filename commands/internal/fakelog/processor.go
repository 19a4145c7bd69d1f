package fakelog

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/tidemill/tidemill/commands/internal/follow"
	"github.com/tidemill/tidemill/internal/meta"
)

// Spec names the topics of a small application whose commands and events are JSON objects with an "id".
func Spec(app string) follow.Topics {
	return follow.Topics{
		Commands: app + "-commands", Group: app + "-commands",
		Events: []string{app + "-events"}, Rejections: []string{app + "-rejections"}, DeadLetters: []string{app + "-dead-letters"},
		EventID: func(_ string, value []byte) string { return BodyID(value) }, CommandID: BodyID,
	}
}

// BodyID reads the member "id" of a JSON object.
func BodyID(value []byte) string {
	var body struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(value, &body) != nil {
		return ""
	}
	return body.ID
}

// CreateTopics creates the topics of an application.
func (l *Log) CreateTopics(spec follow.Topics, partitions int) {
	l.CreateTopic(spec.Commands, partitions)
	for _, names := range [][]string{spec.Events, spec.Rejections, spec.DeadLetters} {
		for _, name := range names {
			l.CreateTopic(name, partitions)
		}
	}
}

// Processor decides commands as a processor does: exactly once, a command id counting once.
//
//	{"id":…,"do":"events:2"}        two events
//	{"id":…,"do":"reject:conflict"} a rejection of that kind
//	anything that is no JSON        a dead letter
//
// Any other do is accepted without an event.
type Processor struct {
	Spec follow.Topics
	// Output writes the records and the offsets of one transaction.
	Output func(ctx context.Context, records []follow.Record, offsets map[int32]int64) error
	// Batch is how many commands make a transaction at most.
	Batch int
	// Hold, if set, is called before each transaction.
	Hold func()

	seen map[string]string // command id to fingerprint
}

// Run decides what it reads until ctx is done.
func (p *Processor) Run(ctx context.Context, log follow.Log, topic follow.Topic) error {
	p.seen = map[string]string{}
	start := follow.Positions{}
	committed, err := log.Committed(ctx, p.Spec.Group, p.Spec.Commands)
	if err != nil {
		return err
	}
	for partition := range topic.Partitions {
		start[follow.Partition{Topic: p.Spec.Commands, Partition: partition}] = committed[partition]
	}
	reader, err := log.Open(start)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		records, err := reader.Poll(ctx, nil)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for len(records) > 0 {
			n := min(len(records), max(p.Batch, 1))
			if err := p.transact(ctx, records[:n]); err != nil {
				return err
			}
			records = records[n:]
		}
	}
}

func (p *Processor) transact(ctx context.Context, commands []follow.Record) error {
	if p.Hold != nil {
		p.Hold()
	}
	var out []follow.Record
	offsets := map[int32]int64{}
	for i := range commands {
		if !commands[i].Control {
			out = append(out, p.decide(&commands[i])...)
		}
		offsets[commands[i].Partition] = commands[i].Offset + 1
	}
	return p.Output(ctx, out, offsets)
}

func (p *Processor) decide(r *follow.Record) []follow.Record {
	var command struct{ ID, Do string }
	if json.Unmarshal(r.Value, &command) != nil {
		return []follow.Record{p.deadLetter(r)}
	}
	fingerprint := string(r.Value)
	for _, header := range r.Headers {
		if header.Key == meta.Fingerprint {
			fingerprint = string(header.Value)
		}
	}
	if first, again := p.seen[command.ID]; again {
		if first == fingerprint {
			return nil
		}
		return []follow.Record{p.reject(r, command.ID, "idempotency-conflict")}
	}
	p.seen[command.ID] = fingerprint
	var count int
	var kind string
	if n, _ := fmt.Sscanf(command.Do, "events:%d", &count); n == 1 {
		var events []follow.Record
		for i := range count {
			body := fmt.Sprintf(`{"id":"%s/%d","parent-id":%q}`, command.ID, i, command.ID)
			events = append(events, p.output(r, p.Spec.Events[0], command.ID, body))
		}
		return events
	}
	if n, _ := fmt.Sscanf(command.Do, "reject:%s", &kind); n == 1 {
		return []follow.Record{p.reject(r, command.ID, kind)}
	}
	return nil
}

func (p *Processor) reject(r *follow.Record, id, kind string) follow.Record {
	body := fmt.Sprintf(`{"id":"%s/no","parent-id":%q,"action":"CommandRejected","data":{"kind":%q,"reason":"because"},"timestamp":%d}`,
		id, id, kind, r.Timestamp)
	return p.output(r, p.Spec.Rejections[0], id, body)
}

func (p *Processor) output(r *follow.Record, topic, id, body string) follow.Record {
	return follow.Record{
		Topic: topic, Partition: r.Partition, Timestamp: r.Timestamp, Key: r.Key, Value: []byte(body),
		Headers: []follow.Header{
			{Key: meta.Command, Value: []byte(id)},
			{Key: meta.Cause, Value: meta.AppendCause(nil, r.Partition, r.Offset)},
		},
	}
}

func (p *Processor) deadLetter(r *follow.Record) follow.Record {
	headers := append([]follow.Header(nil), r.Headers...)
	headers = append(headers,
		follow.Header{Key: meta.DeadTopic, Value: []byte(r.Topic)},
		follow.Header{Key: meta.DeadPartition, Value: strconv.AppendInt(nil, int64(r.Partition), 10)},
		follow.Header{Key: meta.DeadOffset, Value: strconv.AppendInt(nil, r.Offset, 10)},
		follow.Header{Key: meta.DeadKind, Value: []byte("decode")},
		follow.Header{Key: meta.DeadError, Value: []byte("no JSON")})
	return follow.Record{
		Topic: p.Spec.DeadLetters[0], Partition: r.Partition, Timestamp: r.Timestamp, Key: r.Key, Value: r.Value, Headers: headers,
	}
}

// Process runs a Processor on the log until ctx is done.
func (l *Log) Process(ctx context.Context, p *Processor) error {
	p.Output = func(_ context.Context, records []follow.Record, offsets map[int32]int64) error {
		txn := l.Begin()
		for i := range records {
			if _, err := txn.Append(records[i]); err != nil {
				txn.Abort()
				return err
			}
		}
		for partition, offset := range offsets {
			txn.CommitOffset(p.Spec.Group, p.Spec.Commands, partition, offset)
		}
		txn.Commit()
		return nil
	}
	topics, err := l.Topics(ctx, []string{p.Spec.Commands})
	if err != nil {
		return err
	}
	return p.Run(ctx, l, topics[p.Spec.Commands])
}
