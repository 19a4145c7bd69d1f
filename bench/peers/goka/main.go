// Command goka is the calculator's processor on plain goka 1.1.16, as its README would have it: one of the programs that
// make bench measures Tidemill against. It is a module of its own, so that it has the versions that goka names.
//
// Plain goka promises nothing in a crash: input is marked when its own emits are acknowledged, state is written to disk at
// once. Three things differ from the README, because commands, topics and keys are the same for all contenders: the hasher is
// Kafka's (murmur2) instead of FNV, topics are made with one replica, and what is in the topic before the start is read.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/uuid"
	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"
)

type request struct {
	ValueID   string  `json:"value-id"`
	Operation string  `json:"operation,omitempty"`
	Value     float64 `json:"value"`
}

type command struct {
	ID        string  `json:"id"`
	Action    string  `json:"action"`
	Data      request `json:"data"`
	Timestamp int64   `json:"timestamp"`
}

type change struct {
	ValueID   string   `json:"value-id"`
	Operation string   `json:"operation,omitempty"`
	Value     float64  `json:"value"`
	Result    *float64 `json:"result,omitempty"`
}

type event struct {
	ID        string `json:"id"`
	ParentID  string `json:"parent-id"`
	Action    string `json:"action"`
	Data      change `json:"data"`
	Timestamp int64  `json:"timestamp"`
}

type value struct {
	Value float64 `json:"value"`
}

type rejection struct {
	ParentID string `json:"parent-id"`
	Action   string `json:"action"`
	Reason   string `json:"reason"`
}

// codec is the JSON codec of goka's examples, for one type.
type codec[T any] struct{}

// Encode implements goka.Codec.
func (codec[T]) Encode(v any) ([]byte, error) { return json.Marshal(v) }

// Decode implements goka.Codec.
func (codec[T]) Decode(data []byte) (any, error) {
	v := new(T)
	return v, json.Unmarshal(data, v)
}

// namespace is that of the events' ids, which derive from their commands'.
var namespace = uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")

func main() {
	broker := flag.String("broker", "", "host:port of the broker")
	commands := flag.String("commands", "calculator-commands", "the topic of commands")
	events := flag.String("events", "goka-events", "the topic of events")
	rejections := flag.String("rejections", "goka-rejections", "the topic of rejections")
	group := flag.String("group", "goka-calculator", "the group")
	dir := flag.String("state", "", "the directory of the state")
	flag.Parse()
	if err := run(*broker, goka.Stream(*commands), goka.Stream(*events), goka.Stream(*rejections), goka.Group(*group), *dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(broker string, commands, events, rejections goka.Stream, group goka.Group, dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	graph := goka.DefineGroup(group,
		goka.Input(commands, codec[command]{}, process(events, rejections)),
		goka.Output(events, codec[event]{}),
		goka.Output(rejections, codec[rejection]{}),
		goka.Persist(codec[value]{}),
	)
	config := goka.DefaultConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest // its default skips what is there before the start
	goka.ReplaceGlobalConfig(config)
	topics := goka.NewTopicManagerConfig()
	topics.Table.Replication, topics.Stream.Replication = 1, 1
	processor, err := goka.NewProcessor([]string{broker}, graph,
		goka.WithStorageBuilder(storage.DefaultBuilder(dir)),
		goka.WithTopicManagerBuilder(goka.TopicManagerBuilderWithTopicManagerConfig(topics)),
		goka.WithHasher(newMurmur2),
	)
	if err != nil {
		return err
	}
	go func() {
		for ctx.Err() == nil && !processor.Recovered() {
			time.Sleep(2 * time.Millisecond)
		}
		fmt.Println("running")
	}()
	if err := processor.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// process returns the callback: the calculator's rules.
func process(events, rejections goka.Stream) goka.ProcessCallback {
	return func(ctx goka.Context, message any) {
		c := message.(*command)
		reject := func(reason string) {
			ctx.Emit(rejections, ctx.Key(), &rejection{ParentID: c.ID, Action: "CommandRejected", Reason: reason})
		}
		state, found := ctx.Value().(*value)
		e := &event{
			ID: uuid.NewSHA1(namespace, []byte(c.ID)).String(), ParentID: c.ID, Timestamp: c.Timestamp,
			Data: change{ValueID: c.Data.ValueID, Value: c.Data.Value},
		}
		result := c.Data.Value
		switch {
		case c.Action == "CreateValue" && found:
			reject("value already exists")
			return
		case c.Action == "CreateValue":
			e.Action = "ValueCreated"
		case c.Action != "UpdateValue" || !found:
			reject("unknown action, or no such value")
			return
		default:
			if c.Data.Operation == "MULTIPLY" {
				result = state.Value * c.Data.Value
			} else {
				result = state.Value + c.Data.Value
			}
			e.Action, e.Data.Operation, e.Data.Result = "ValueUpdated", c.Data.Operation, &result
		}
		ctx.SetValue(&value{Value: result})
		ctx.Emit(events, ctx.Key(), e)
	}
}
