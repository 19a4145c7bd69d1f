package ordering

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/views"
)

// queried is the part of the query service that answers: the views of its application's tables.
type queried struct {
	*service.Views
	config  service.Config
	byTime  *views.View[orderKey, Listed]
	byPrice *views.View[orderKey, Listed]
	items   *views.View[itemKey, int64]
	totals  *views.View[bucketKey, Totals]
	streams views.Streams // of changes

	thresholds Thresholds
}

// newQueried has all views hold the same partitions: those of the customers that this instance answers for. Instances with
// other thresholds are other groups.
func newQueried(config Config, built *topology.Topology, tables queryTables, writes *service.Processor) (*queried, error) {
	q := &queried{config: config.Named("view"), thresholds: config.Thresholds}
	q.streams.Logger = q.config.Logger
	var err, failed error
	if q.Views, err = service.NewViews(q.config, "query view", built, built.Application()+"-views"); err != nil {
		return nil, err
	}
	q.Beside(writes)
	way := wayOfCommands(built)
	q.byTime, err = q.Open("", tables.byTime, way)
	failed = errors.Join(failed, err)
	q.byPrice, err = q.Open("", tables.byPrice, way)
	failed = errors.Join(failed, err)
	q.items, err = q.Open("", tables.items, way)
	failed = errors.Join(failed, err)
	q.totals, err = q.Open("", tables.totals, way)
	return q, errors.Join(failed, err)
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

// shown is what is asked of a view before it answers, whatever is in it.
type shown interface {
	views.Any
	Await(ctx context.Context, token views.Token) error
}

// shownOf returns the views as such.
func shownOf(parts []shown) (all []views.Any) {
	for _, view := range parts {
		all = append(all, view)
	}
	return all
}

// await waits until each of some views shows the effect of a token's command. They wait side by side, for each follows the
// command all the way.
func await(ctx context.Context, token views.Token, parts []shown) error {
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

// Run implements service.Component.
func (q *queried) Run(ctx context.Context) error {
	q.streams.Begin()
	defer q.streams.End() // the views, which have ended by then, have ended them
	return q.Views.Run(ctx)
}

// Mount implements service.Component.
func (q *queried) Mount(mux *http.ServeMux) {
	q.Views.Mount(mux)
	mux.Handle("GET /orders", q.authorized(q.serveItems, func(r *http.Request) string { return r.URL.Query().Get("customerId") }, q.items))
	ofPath := func(r *http.Request) string { return r.PathValue("id") }
	mux.Handle("GET /customers/{id}/orders", q.authorized(q.serveBuckets, ofPath, q.totals, q.byTime, q.byPrice))
	mux.Handle("GET /customers/{id}/orders/{bucket}", q.authorized(q.serveBucket, ofPath, q.totals, q.byTime, q.byPrice))
	mux.Handle("GET /customers/{id}/changes", q.authorized(q.serveChanges, ofPath, q.totals, q.byTime))
}
