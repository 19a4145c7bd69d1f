package calculator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/views"
)

// Group is the consumer group by which the processor reads commands.
const Group = "calculator-commands"

// SharingGroup is the consumer group in which instances of the view find each other, where they share the partitions out.
const SharingGroup = "calculator-views"

// DeadLetters is where commands go that cannot be processed.
const DeadLetters = "calculator-dead-letters"

// view is the materialised view of the values.
type view struct {
	config  Config
	inner   *views.View[string, Value]
	sharing *views.Sharing // nil: this instance has a full copy
	handler http.Handler
}

// View returns the materialised view: it answers GET /values/{id} and GET /values.
func View(config Config) (Component, error) { return newView(config) }

func newView(config Config) (*view, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	_, values, err := Topology()
	if err != nil {
		return nil, err
	}
	table, ok := values.Describe()
	if !ok {
		return nil, errors.New("the table of values has no store")
	}
	var sharing *views.Sharing
	if config.URL != "" {
		if sharing, err = views.NewSharing(views.SharingConfig{
			Group: SharingGroup, URL: config.URL, Instance: config.Processor.InstanceID, Standbys: config.Standbys,
			Log: config.Kafka, Logger: config.named("materialized_view"), Metrics: config.Metrics,
		}); err != nil {
			return nil, err
		}
	}
	inner, err := views.New(views.Config[string, Value]{
		Name: "calculator-" + table.Store, Changelog: table.Changelog, KeyCodec: table.Key, ValueCodec: table.Value,
		Dir: filepath.Join(config.Dir, "views", "calculator-"+table.Store), Log: config.Kafka,
		Processor: views.Processor{Group: Group, Topics: []string{Commands.Name()}}, Sharing: sharing,
		Logger: config.named("materialized_view"), Metrics: config.Metrics,
	})
	if err != nil {
		return nil, err
	}
	handler, err := inner.Handler(resource)
	if err != nil {
		return nil, err
	}
	return &view{config: config, inner: inner, sharing: sharing, handler: handler}, nil
}

// Name implements Component.
func (*view) Name() string { return "view" }

// Run implements Component.
func (v *view) Run(ctx context.Context) error {
	logger := v.config.named("materialized_view")
	if err := v.config.prepare(ctx, logger); err != nil || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	if v.config.LogCommands {
		wait.Go(func() { viewTrail(v.config, logger, v.inner.Await).run(ctx, v.inner.Ready()) })
	}
	return v.inner.Run(ctx)
}

// Ready implements Component.
func (v *view) Ready() error {
	if v.inner.Recovered() {
		return nil
	}
	restored, total := v.inner.Progress()
	return fmt.Errorf("restoring: %d of %d changelog offsets", restored, total)
}

// Mount implements Component.
func (v *view) Mount(mux *http.ServeMux) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := auth.Check(w, r, v.config.Authorizer, ScopeRead); ok {
			v.handler.ServeHTTP(w, r)
		}
	})
	if v.sharing != nil {
		mux.Handle(v.sharing.Path(), v.sharing)
	}
	mux.Handle("GET /values", handler)
	mux.Handle("GET /values/{id}", handler)
}

// drainTimeout bounds how long a stop waits for others to take over what is shared out: they need no longer where they
// have copies.
const drainTimeout = time.Second

// Stopping implements Component.
func (v *view) Stopping() {
	if v.sharing != nil {
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		if err := v.sharing.Drain(ctx); err != nil {
			v.config.named("materialized_view").Info("the partitions move once this instance has stopped", "error", err)
		}
	}
	v.inner.EndWatches()
}

// Close implements Component.
func (*view) Close() error { return nil }

// present returns a value as it is now.
func (v *view) present(ctx context.Context, id string) (Value, error) {
	value, found, err := v.inner.Get(ctx, id)
	if err == nil && !found {
		err = fmt.Errorf("the view has no value with id %s", id)
	}
	return value, err
}
