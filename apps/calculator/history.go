package calculator

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/commands/auth"
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
	*service.Views
	config    service.Config
	processor *service.Processor
	handler   http.Handler
}

// History returns the component that answers GET /values/{id}/history: the value's events, in the order of the log. It has a
// processor and a view of its own, and state of its own.
func History(config Config) (service.Component, error) {
	built, steps, err := HistoryTopology()
	if err != nil {
		return nil, err
	}
	h := &history{config: config.Named("history")}
	h.config.URL = "" // every instance has a full copy
	if h.processor, err = service.NewProcessor(h.config, "history", built); err != nil {
		return nil, err
	}
	if h.Views, err = service.NewViews(h.config, "history", built, ""); err != nil {
		return nil, err
	}
	view, err := h.Open("calculator-history", steps, views.Processor{})
	if err != nil {
		return nil, err
	}
	h.handler, err = view.Handler(views.HTTP[string, Event]{Path: "/history", Render: renderStep})
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

// Run implements service.Component.
func (h *history) Run(ctx context.Context) error {
	return service.Together(ctx, h.processor.Run, h.Views.Run)
}

// Ready implements service.Component.
func (h *history) Ready() error {
	if err := h.processor.Ready(); err != nil {
		return err
	}
	return h.Views.Ready()
}

// Mount implements service.Component.
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
