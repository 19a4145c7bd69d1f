package ordering

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"

	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/views"
)

// queried is the part of the query service that answers: the views of its application's tables.
type queried struct {
	config  Config
	built   *topology.Topology
	byTime  *views.View[orderKey, Listed]
	byPrice *views.View[orderKey, Listed]
	items   *views.View[itemKey, int64]
	totals  *views.View[bucketKey, Totals]
	all     []part
}

// part is what is asked of every view, whatever is in it.
type part interface {
	Run(ctx context.Context) error
	Recovered() bool
	Progress() (restored, total int64)
	Await(ctx context.Context, token views.Token) error
}

func newQueried(config Config, built *topology.Topology, tables queryTables) (*queried, error) {
	q := &queried{config: config, built: built}
	var err, failed error
	q.byTime, err = newView(config, tables.byTime)
	failed = errors.Join(failed, err)
	q.byPrice, err = newView(config, tables.byPrice)
	failed = errors.Join(failed, err)
	q.items, err = newView(config, tables.items)
	failed = errors.Join(failed, err)
	q.totals, err = newView(config, tables.totals)
	if failed = errors.Join(failed, err); failed != nil {
		return nil, failed
	}
	q.all = []part{q.byTime, q.byPrice, q.items, q.totals}
	return q, nil
}

func newView[K, V any](config Config, from topology.Table[K, V]) (*views.View[K, V], error) {
	table, ok := from.Describe()
	if !ok {
		return nil, errors.New("a table of the query side has no store")
	}
	name := config.Thresholds.Application() + "-" + table.Store
	return views.New(views.Config[K, V]{
		Name: name, Changelog: table.Changelog, KeyCodec: table.Key, ValueCodec: table.Value,
		Dir: filepath.Join(config.Dir, "views", name), Log: config.Kafka,
		Logger: config.named("view"), Metrics: config.Metrics,
	})
}

// Name implements Component.
func (*queried) Name() string { return "query view" }

// Run implements Component: all views, until one fails.
func (q *queried) Run(ctx context.Context) error {
	if err := q.config.prepare(ctx, q.built, q.config.named("view")); err != nil || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	errs := make([]error, len(q.all))
	for i, view := range q.all {
		wait.Go(func() {
			if errs[i] = view.Run(ctx); errs[i] != nil {
				cancel(errs[i])
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// Ready implements Component.
func (q *queried) Ready() error {
	var restored, total int64
	ready := true
	for _, view := range q.all {
		done, of := view.Progress()
		restored, total, ready = restored+done, total+of, ready && view.Recovered()
	}
	if ready {
		return nil
	}
	return fmt.Errorf("restoring: %d of %d changelog offsets", restored, total)
}

// await waits until every view shows the effect of a token's command.
func (q *queried) await(ctx context.Context, token views.Token) error {
	for _, view := range q.all {
		if err := view.Await(ctx, token); err != nil {
			return err
		}
	}
	return nil
}

// Mount implements Component.
func (q *queried) Mount(mux *http.ServeMux) {
	mux.Handle("GET /orders", q.authorized(q.serveItems, func(r *http.Request) string { return r.URL.Query().Get("customerId") }))
	ofPath := func(r *http.Request) string { return r.PathValue("id") }
	mux.Handle("GET /customers/{id}/orders", q.authorized(q.serveBuckets, ofPath))
	mux.Handle("GET /customers/{id}/orders/{bucket}", q.authorized(q.serveBucket, ofPath))
}

// Stopping implements Component.
func (*queried) Stopping() {}

// Close implements Component.
func (*queried) Close() error { return nil }
