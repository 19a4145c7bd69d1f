package calculator

import (
	"context"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/kafka"
)

// What a trail shows: each command while they come singly, and only how many there were when they come in masses.
const (
	trailBudget = 200                    // records shown in a trailPause
	trailPause  = time.Second            // how long nothing is shown after more than that
	trailHold   = 200 * time.Millisecond // how long an outcome waits for its command to be shown first
	trailKnown  = 4096                   // commands remembered
)

// trail logs the way of commands. The task itself is pure and logs nothing: what it did is read from the topics once it is
// committed, so that every line is true and comes once, whatever was tried and aborted before.
type trail struct {
	kafka  kafka.Config
	logger *slog.Logger
	// command, event and rejection show one record each; nil ones are not shown. at is the place of the command.
	command   func(at outcome.Position, c Command)
	event     func(ctx context.Context, at outcome.Position, record *kgo.Record, e Event)
	rejection func(at outcome.Position, id, reason string)

	// Owned by run's goroutine.
	known map[string]outcome.Position // by the command's id
	order []string                    // of known, oldest first
	held  []*kgo.Record               // outcomes whose command is not known yet
}

// run follows the topics until ctx is done, beginning with what is written once ready is closed.
func (t *trail) run(ctx context.Context, ready <-chan struct{}) {
	select {
	case <-ready:
	case <-ctx.Done():
		return
	}
	for ctx.Err() == nil {
		shown, err := t.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			t.logger.Warn("the way of commands cannot be followed; trying again", "error", err)
		} else {
			t.logger.Info("commands come too fast to show each; showing them again in a second", "shown", shown)
		}
		select {
		case <-ctx.Done():
		case <-time.After(trailPause):
		}
	}
}

// session shows records from now on until there are too many.
func (t *trail) session(ctx context.Context) (shown int, err error) {
	options, err := t.kafka.ClientOptions()
	if err != nil {
		return 0, err
	}
	client, err := kgo.NewClient(append(options,
		kgo.WithContext(ctx), // at the end nothing is asked any more of brokers that may be away
		kgo.ConsumeTopics(Commands.Name(), Events.Name(), Rejections.Name()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxBytes(1<<20), kgo.FetchMaxPartitionBytes(1<<18),
	)...)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	t.known, t.order, t.held = map[string]outcome.Position{}, nil, nil
	for began := time.Now(); ctx.Err() == nil; {
		fetches := t.poll(ctx, client)
		if time.Since(began) > trailPause {
			began, shown = time.Now(), 0
		}
		if shown += fetches.NumRecords(); shown > trailBudget {
			return shown, nil
		}
		t.take(ctx, fetches)
	}
	return shown, nil
}

// poll waits for records, not for long where something is held.
func (t *trail) poll(ctx context.Context, client *kgo.Client) kgo.Fetches {
	if len(t.held) == 0 {
		return client.PollRecords(ctx, trailBudget+1)
	}
	ctx, cancel := context.WithTimeout(ctx, trailHold)
	defer cancel()
	return client.PollRecords(ctx, trailBudget+1)
}

// take shows commands first, then the outcomes whose command is known or has been waited for.
func (t *trail) take(ctx context.Context, fetches kgo.Fetches) {
	var outcomes []*kgo.Record
	fetches.EachRecord(func(record *kgo.Record) {
		if record.Topic != Commands.Name() {
			outcomes = append(outcomes, record)
			return
		}
		command, err := Commands.Value().Decode(record.Value)
		if err != nil {
			return // it becomes a dead letter, which the processor logs
		}
		at := outcome.Position{Topic: record.Topic, Partition: record.Partition, Offset: record.Offset}
		t.remember(command.ID, at)
		if t.command != nil {
			t.command(at, command)
		}
	})
	held := t.held
	t.held = nil
	for _, record := range held {
		t.outcome(ctx, record, true)
	}
	for _, record := range outcomes {
		t.outcome(ctx, record, false)
	}
}

func (t *trail) remember(id string, at outcome.Position) {
	if _, again := t.known[id]; again {
		return
	}
	if len(t.order) == trailKnown {
		delete(t.known, t.order[0])
		t.order = t.order[1:]
	}
	t.known[id] = at
	t.order = append(t.order, id)
}

// outcome shows an event or a rejection, or holds it back once if its command has not been seen.
func (t *trail) outcome(ctx context.Context, record *kgo.Record, last bool) {
	var id string
	var show func(at outcome.Position)
	if record.Topic == Events.Name() {
		event, err := Events.Value().Decode(record.Value)
		if err != nil || t.event == nil {
			return
		}
		id, show = event.ParentID, func(at outcome.Position) { t.event(ctx, at, record, event) }
	} else {
		rejection, err := Rejections.Value().Decode(record.Value)
		if err != nil || t.rejection == nil {
			return
		}
		id, show = rejection.CommandID, func(at outcome.Position) { t.rejection(at, id, rejection.Data.Reason) }
	}
	at, known := t.known[id]
	switch {
	case known:
		show(at)
	case !last:
		t.held = append(t.held, record)
	default: // the command came before the trail began
		show(outcome.Position{Topic: Commands.Name(), Partition: record.Partition, Offset: -1})
	}
}

// processorTrail shows what the processor made of the commands of the partitions that are assigned to it.
func processorTrail(config service.Config, assigned func(partition int32) bool) *trail {
	logger := config.Logger
	t := &trail{kafka: config.Kafka, logger: logger}
	t.command = func(at outcome.Position, c Command) {
		if !assigned(at.Partition) {
			return
		}
		logger.Info("received command", "command", c.ID, "action", c.Action, "value_id", c.Data.ValueID, "operation", c.Data.Operation,
			"value", c.Data.Value.String(), "partition", at.Partition, "offset", at.Offset, "timestamp", c.Timestamp)
		logger.Info("validating command", "command", c.ID, "value_id", c.Data.ValueID)
	}
	t.event = func(_ context.Context, at outcome.Position, record *kgo.Record, e Event) {
		if assigned(at.Partition) {
			logger.Info("successfully sent event", append(describe(e), "topic", record.Topic, "partition", record.Partition, "offset", record.Offset)...)
		}
	}
	t.rejection = func(at outcome.Position, id, reason string) {
		if assigned(at.Partition) {
			logger.Info("command rejected", "command", id, "reason", reason)
		}
	}
	return t
}

// viewTrail shows the events whose effect the view has taken in.
func viewTrail(config service.Config, await func(context.Context, outcome.Position) error) *trail {
	return &trail{kafka: config.Kafka, logger: config.Logger, event: func(ctx context.Context, at outcome.Position, record *kgo.Record, e Event) {
		if at.Offset >= 0 {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if await(ctx, at) != nil {
				return // the view is restoring, rebuilding or away; it says so itself
			}
		}
		config.Logger.Info("received event", append(describe(e), "partition", record.Partition, "offset", record.Offset)...)
	}}
}

func describe(e Event) []any {
	fields := []any{"command", e.ParentID, "event", e.ID, "action", e.Action, "value_id", e.Data.ValueID, "value", e.Data.Value.String()}
	if !e.Data.Result.IsZero() {
		fields = append(fields, "operation", e.Data.Operation, "result", e.Data.Result.String())
	}
	return fields
}
