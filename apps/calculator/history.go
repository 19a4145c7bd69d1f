package calculator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/processors"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/views"
)

// HistoryTopology returns the application that keeps every event of every value, and the store that it keeps them in. It
// is a reader of the calculator's events like any other: it can be added to a calculator that has run for years, and then
// begins with the first event.
func HistoryTopology() (*topology.Topology, *topology.KeyValueHandle[string, Event], error) {
	steps := topology.KeyValueStore("steps", codecs.String(), Events.Value())
	b := topology.New("calculator-history")
	b.From(Events).Process("keep", func(c *topology.ProcessorContext[string, Event]) topology.Processor[string, Event] {
		rows := steps.Open(c)
		return func(r topology.Record[string, Event]) error {
			if !r.NullValue {
				rows.Put(stepKey(r.Key, r.Offset), r.Value)
			}
			return nil
		}
	}, steps)
	built, err := b.Build()
	return built, steps, err
}

// stepKey returns the key of a step: all of a value's begin with stepPrefix, and lie in the order of the log, for a value's
// events are in one partition.
func stepKey(id string, offset int64) string { return fmt.Sprintf("%s%019d", stepPrefix(id), offset) }

// stepPrefix begins the keys of one value's steps. No id can reach into another's: the slash is not in an escaped id.
func stepPrefix(id string) string { return url.PathEscape(id) + "/" }

// history is the component that tells how values came to be.
type history struct {
	config    Config
	processor *processors.Processor
	view      *views.View[string, Event]
	handler   http.Handler
}

// History returns the component that answers GET /values/{id}/history: the value's events, in the order of the log. It has a
// processor and a view of its own, and state of its own.
func History(config Config) (Component, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	built, steps, err := HistoryTopology()
	if err != nil {
		return nil, err
	}
	config.Processor.Logger = config.named("history")
	h := &history{config: config}
	if h.processor, err = processors.New(built, config.Processor); err != nil {
		return nil, err
	}
	table, _ := steps.Describe()
	h.view, err = views.New(views.Config[string, Event]{
		Name: "calculator-history", Changelog: built.Application() + "-" + table.Store + "-changelog", KeyCodec: table.Key, ValueCodec: table.Value,
		Dir: filepath.Join(config.Dir, "views", "calculator-history"), Log: config.Kafka, Logger: config.named("history"), Metrics: config.Metrics,
	})
	if err != nil {
		return nil, err
	}
	h.handler, err = h.view.Handler(views.HTTP[string, Event]{Path: "/history", Render: renderStep})
	return h, err
}

// renderStep appends one event as the page shows it.
func renderStep(dst []byte, key string, e Event) ([]byte, error) {
	at := strings.LastIndexByte(key, '/')
	number, err := strconv.ParseInt(key[at+1:], 10, 64)
	if err != nil {
		return dst, fmt.Errorf("the key of a step: %w", err)
	}
	result := e.Data.Result
	if result.IsZero() {
		result = e.Data.Value // created with it
	}
	dst = strconv.AppendInt(append(dst, `{"number":`...), number, 10)
	for _, member := range []struct{ before, text string }{
		{`,"event":`, e.ID}, {`,"command":`, e.ParentID}, {`,"action":`, e.Action}, {`,"operation":`, e.Data.Operation},
	} {
		if dst, err = appendText(dst, member.before, member.text); err != nil {
			return dst, err
		}
	}
	dst = e.Data.Value.append(append(dst, `,"value":`...))
	dst = result.append(append(dst, `,"result":`...))
	dst = strconv.AppendInt(append(dst, `,"timestamp":`...), e.Timestamp, 10)
	return append(dst, '}'), nil
}

// Name implements Component.
func (*history) Name() string { return "history" }

// Run implements Component.
func (h *history) Run(ctx context.Context) error {
	built, _, err := HistoryTopology()
	if err != nil {
		return err
	}
	logger := h.config.named("history")
	if err := h.config.prepare(ctx, logger); err != nil || ctx.Err() != nil {
		return err
	}
	if err := h.config.ensure(ctx, built, logger); err != nil || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	var failed error // of the view; to be read once wait is over
	wait.Go(func() {
		defer cancel()
		failed = h.view.Run(ctx)
	})
	err = h.processor.Run(ctx)
	cancel()
	wait.Wait()
	return errors.Join(err, failed)
}

// Ready implements Component.
func (h *history) Ready() error {
	if err := h.processor.Status().NotReady(); err != nil {
		return err
	}
	if h.view.Recovered() {
		return nil
	}
	restored, total := h.view.Progress()
	return fmt.Errorf("restoring: %d of %d changelog offsets", restored, total)
}

// Mount implements Component.
func (h *history) Mount(mux *http.ServeMux) {
	mux.HandleFunc("GET /values/{id}/history", func(w http.ResponseWriter, r *http.Request) {
		if _, ok := auth.Check(w, r, h.config.Authorizer, ScopeRead); !ok {
			return
		}
		id := r.PathValue("id")
		if known, ok := canonical(id); ok {
			id = known
		}
		query := r.URL.Query()
		query.Set("prefix", stepPrefix(id))
		if !query.Has("order") {
			query.Set("order", "desc")
		}
		// The view's resource, asked for one value's rows.
		inner := r.Clone(r.Context())
		inner.URL.Path, inner.URL.RawPath, inner.URL.RawQuery = "/history", "", query.Encode()
		h.handler.ServeHTTP(w, inner)
	})
}

// Stopping implements Component.
func (*history) Stopping() {}

// Close implements Component.
func (*history) Close() error { return nil }
