package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/processors"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/views"
)

// Views is a component of the views that answer from one application's tables. They run together, and where instances share
// the partitions out, they all hold the same ones. What is mounted is the sharing; the application mounts what it answers.
type Views struct {
	base
	// Sharing is nil where this instance has a full copy.
	Sharing *views.Sharing

	group  string // in which instances find each other, if they do
	all    []opened
	beside *Processor
	level  atomic.Bool // the views have shown what had happened before the start
}

// opened is what is asked of every view, whatever is in it.
type opened interface {
	Run(ctx context.Context) error
	Recovered() bool
	Progress() (restored, total int64)
	CatchUp(ctx context.Context) error
	EndWatches()
}

// NewViews returns a component without views. The instances find each other in a consumer group, where the configuration says
// that they share the partitions out.
func NewViews(config Config, name string, built *topology.Topology, group string) (*Views, error) {
	base, err := newBase(config, name, built)
	if err != nil {
		return nil, err
	}
	v := &Views{base: base, group: group}
	if config.URL == "" {
		return v, nil
	}
	v.Sharing, err = views.NewSharing(views.SharingConfig{
		Group: group, URL: config.URL, Instance: config.Processor.InstanceID, Standbys: config.Standbys,
		Memberships: v.memberships, Log: base.config.Kafka, Logger: base.config.Logger, Metrics: config.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return v, nil
}

// Beside says, before Run, that the tables are written by a processor of the same process, among others. Where that does not keep its
// partitions at a stop (processors.LeaveGroup), what is new goes to other instances together with what is shared out: when this one is
// stopped, and when it has died, which the others see.
func (v *Views) Beside(p *Processor) { v.beside = p }

// memberships returns the groups that others are to take the processor out of when this process is gone.
func (v *Views) memberships() (groups []views.Membership) {
	if !v.handsOver() {
		return nil
	}
	id := v.beside.Inner.InstanceID()
	if id == "" {
		return nil // it is not known yet
	}
	for _, sub := range v.beside.built.Graph().SubTopologies {
		groups = append(groups, views.Membership{Group: sub.Group, Instance: id})
	}
	return groups
}

// handsOver reports whether the processor beside the views does not keep its partitions over a stop.
func (v *Views) handsOver() bool {
	return v.beside != nil && v.beside.config.Processor.OnStop == processors.LeaveGroup
}

// Materialized is what has rows in a changelog: a topology.Table or a store's handle.
type Materialized[K, V any] interface {
	Describe() (topology.Description[K, V], bool)
}

// Open adds the view of a table, before Run. Its name is its directory's too; empty means <application>-<store>. written says
// by whom the table is written, for read-your-writes tokens.
func (v *Views) Open[K, V any](name string, from Materialized[K, V], written views.Processor) (*views.View[K, V], error) {
	table, ok := from.Describe()
	if !ok {
		return nil, fmt.Errorf("%w: a table of %s without a store cannot be seen", ErrConfig, v.built.Application())
	}
	store := v.built.Application() + "-" + table.Store
	name = cmp.Or(name, store)
	view, err := views.New(views.Config[K, V]{
		Name: name, Changelog: cmp.Or(table.Changelog, store+"-changelog"), KeyCodec: table.Key, ValueCodec: table.Value,
		Dir: filepath.Join(v.config.Dir, "views", name), Log: v.config.Kafka, Processor: written, Sharing: v.Sharing,
		Logger: v.config.Logger, Metrics: v.config.Metrics,
	})
	if err != nil {
		return nil, err
	}
	v.all = append(v.all, view)
	return view, nil
}

// Run implements Component: all views, until one fails.
func (v *Views) Run(ctx context.Context) error {
	runs := make([]func(context.Context) error, len(v.all))
	for i, view := range v.all {
		runs[i] = view.Run
	}
	return v.run(ctx, func(ctx context.Context) error {
		var catching sync.WaitGroup
		defer catching.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		catching.Go(func() { v.catchUp(ctx) })
		catching.Go(func() { v.lookBeside(ctx) })
		return Together(ctx, runs...)
	})
}

// lookBeside warns of instances that share out what this one has a full copy of: most likely its URL was forgotten.
func (v *Views) lookBeside(ctx context.Context) {
	if v.Sharing != nil || v.group == "" {
		return
	}
	others, err := views.SharingInstances(ctx, v.config.Kafka, v.group)
	if err != nil || len(others) == 0 {
		return // it is no more than a hint
	}
	v.config.Logger.Warn("other instances share the partitions out, and this one does not: it keeps a full copy, and they do not count on it; give it a URL of its own, or them none",
		"group", v.group, "others", others)
}

// catchUpPause is between two attempts, while brokers are away.
const catchUpPause = 100 * time.Millisecond

// catchUp notes when the views show all that had happened before the start. Where the application is new, or was away, its tables
// have no row, or old ones, until then.
func (v *Views) catchUp(ctx context.Context) {
	for _, view := range v.all {
		for view.CatchUp(ctx) != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(catchUpPause):
			}
		}
	}
	v.level.Store(true)
}

// errBehind is why views are not ready that are restored.
var errBehind = errors.New("what had happened before the start is being processed")

// Ready implements Component: the views are restored, and show what had happened before the start.
func (v *Views) Ready() error {
	var restored, total int64
	ready := true
	for _, view := range v.all {
		done, of := view.Progress()
		restored, total, ready = restored+done, total+of, ready && view.Recovered()
	}
	if !ready {
		return fmt.Errorf("restoring: %d of %d changelog offsets", restored, total)
	}
	if !v.level.Load() {
		return errBehind
	}
	return nil
}

// Mount implements Component.
func (v *Views) Mount(mux *http.ServeMux) {
	if v.Sharing != nil {
		mux.Handle(v.Sharing.Path(), v.Sharing)
	}
}

// drainTimeout bounds how long a stop waits for others to take over what is shared out: they need no longer where they
// have copies.
const drainTimeout = 1250 * time.Millisecond

// Stopping implements Component.
func (v *Views) Stopping() {
	if v.Sharing != nil {
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		if err := v.Sharing.Drain(ctx); err != nil {
			v.config.Logger.Info("the partitions move once this instance has stopped", "error", err)
		}
	}
	for _, view := range v.all {
		view.EndWatches()
	}
}

// Waiting implements Waiter: what requests wait for that is new, other instances process once the processor beside has left them
// its share.
func (v *Views) Waiting() int {
	if v.Sharing == nil || !v.handsOver() {
		return 0
	}
	return v.Sharing.Waiting()
}
