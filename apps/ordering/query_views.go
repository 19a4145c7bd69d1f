package ordering

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
	sharing *views.Sharing // nil: this instance has a full copy
	streams atomic.Int64   // of changes, that are open
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
	if config.URL != "" {
		if q.sharing, err = newSharing(config); err != nil {
			return nil, err
		}
	}
	way := wayOfCommands(built)
	q.byTime, err = newView(config, q.sharing, way, tables.byTime)
	failed = errors.Join(failed, err)
	q.byPrice, err = newView(config, q.sharing, way, tables.byPrice)
	failed = errors.Join(failed, err)
	q.items, err = newView(config, q.sharing, way, tables.items)
	failed = errors.Join(failed, err)
	q.totals, err = newView(config, q.sharing, way, tables.totals)
	if failed = errors.Join(failed, err); failed != nil {
		return nil, failed
	}
	q.all = []part{q.byTime, q.byPrice, q.items, q.totals}
	return q, nil
}

// newSharing has all views hold the same partitions: those of the customers that this instance answers for. Instances with
// other thresholds are other groups.
func newSharing(config Config) (*views.Sharing, error) {
	sharing, err := views.NewSharing(views.SharingConfig{
		Group: config.Thresholds.Application() + "-views", URL: config.URL, Instance: config.Processor.InstanceID, Standbys: config.Standbys,
		Log: config.Kafka, Logger: config.named("view"), Metrics: config.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return sharing, nil
}

// wayOfCommands returns how a command comes to the tables: by the command service's processor to the events, by the query
// application to the customers' partitions, and there to the rows.
func wayOfCommands(built *topology.Topology) views.Processor {
	way := views.Processor{Group: Group, Topics: []string{Commands.Name()}}
	var rest []views.Hop
	for _, sub := range built.Graph().SubTopologies {
		hop := views.Hop{Topics: sub.SourceTopics(), Group: sub.Group}
		if slices.Contains(hop.Topics, Events.Name()) {
			way.Then = append(way.Then, hop)
			continue
		}
		hop.Repartitioned = true
		rest = append(rest, hop)
	}
	way.Then = append(way.Then, rest...)
	return way
}

func newView[K, V any](config Config, sharing *views.Sharing, way views.Processor, from topology.Table[K, V]) (*views.View[K, V], error) {
	table, ok := from.Describe()
	if !ok {
		return nil, errors.New("a table of the query side has no store")
	}
	name := config.Thresholds.Application() + "-" + table.Store
	return views.New(views.Config[K, V]{
		Name: name, Processor: way, Changelog: table.Changelog, KeyCodec: table.Key, ValueCodec: table.Value,
		Dir: filepath.Join(config.Dir, "views", name), Log: config.Kafka, Sharing: sharing,
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

// await waits until each of some views shows the effect of a token's command. They wait side by side, for each follows the
// command all the way.
func await(ctx context.Context, token views.Token, parts []part) error {
	errs := make([]error, len(parts))
	var wait sync.WaitGroup
	for i, view := range parts {
		wait.Go(func() { errs[i] = view.Await(ctx, token) })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Mount implements Component.
func (q *queried) Mount(mux *http.ServeMux) {
	if q.sharing != nil {
		mux.Handle(q.sharing.Path(), q.sharing)
	}
	mux.Handle("GET /orders", q.authorized(q.serveItems, func(r *http.Request) string { return r.URL.Query().Get("customerId") }, q.items))
	ofPath := func(r *http.Request) string { return r.PathValue("id") }
	mux.Handle("GET /customers/{id}/orders", q.authorized(q.serveBuckets, ofPath, q.totals, q.byTime, q.byPrice))
	mux.Handle("GET /customers/{id}/orders/{bucket}", q.authorized(q.serveBucket, ofPath, q.totals, q.byTime, q.byPrice))
	mux.Handle("GET /customers/{id}/changes", q.authorized(q.serveChanges, ofPath, q.totals, q.byTime))
}

// drainTimeout bounds how long a stop waits for others to take over what is shared out: they need no longer where they
// have copies.
const drainTimeout = time.Second

// Stopping implements Component.
func (q *queried) Stopping() {
	if q.sharing != nil {
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		if err := q.sharing.Drain(ctx); err != nil {
			q.config.named("view").Info("the partitions move once this instance has stopped", "error", err)
		}
	}
	q.byTime.EndWatches()
	q.totals.EndWatches()
}

// Close implements Component.
func (*queried) Close() error { return nil }
