package calculator

import (
	"context"
	"fmt"
	"net/http"

	"github.com/tidemill/tidemill/apps/service"
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
	*service.Views
	config  service.Config
	values  *views.View[string, Value]
	handler http.Handler
}

// View returns the materialised view: it answers GET /values/{id} and GET /values.
func View(config Config) (service.Component, error) { return newView(config) }

func newView(config Config) (*view, error) {
	calculator, values, err := Topology()
	if err != nil {
		return nil, err
	}
	v := &view{config: config.Named("materialized_view")}
	if v.Views, err = service.NewViews(v.config, "view", calculator, SharingGroup); err != nil {
		return nil, err
	}
	written := views.Processor{Group: Group, Topics: []string{Commands.Name()}}
	if v.values, err = v.Open("", values, written); err != nil {
		return nil, err
	}
	v.handler, err = v.values.Handler(resource)
	return v, err
}

// Run implements service.Component.
func (v *view) Run(ctx context.Context) error {
	if !v.config.LogCommands {
		return v.Views.Run(ctx)
	}
	return service.Together(ctx, v.Views.Run, func(ctx context.Context) error {
		viewTrail(v.config, v.values.Await).run(ctx, v.values.Ready())
		return nil
	})
}

// Mount implements service.Component.
func (v *view) Mount(mux *http.ServeMux) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if principal, ok := auth.Check(w, r, v.config.Authorizer, ScopeRead); ok {
			v.handler.ServeHTTP(w, views.Until(r, principal.Expires))
		}
	})
	v.Views.Mount(mux)
	mux.Handle("GET /values", handler)
	mux.Handle("GET /values/{id}", handler)
}

// present returns a value as it is now.
func (v *view) present(ctx context.Context, id string) (Value, error) {
	value, found, err := v.values.Get(ctx, id)
	if err == nil && !found {
		err = fmt.Errorf("the view has no value with id %s", id)
	}
	return value, err
}
