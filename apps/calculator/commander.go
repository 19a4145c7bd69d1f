package calculator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/subscriptions"
)

// Commander returns the commander: it answers POST /values and PUT /values/{id}.
func Commander(config Config) (service.Component, error) { return newCommander(config, nil, nil) }

// newCommander returns a commander that asks the given components, or those elsewhere where they are nil.
func newCommander(config Config, view *view, outcomes *service.Subscriptions) (service.Component, error) {
	calculator, _, err := Topology()
	if err != nil {
		return nil, err
	}
	own := commands.Config[string, Command]{Outputs: outputs}
	var shown present
	if view != nil {
		own.Positions, shown = view.values, view.present
	} else if config.ViewURL != "" {
		if own.Positions, err = commands.NewRemotePositions(config.ViewURL+"/values?limit=1", nil); err != nil {
			return nil, fmt.Errorf("%w: the view: %w", service.ErrConfig, err)
		}
		shown = remoteView(config.ViewURL)
	}
	if outcomes != nil {
		own.Outcomes = outcomes.Inner
	} else if config.SubscriptionsURL != "" {
		if own.History, err = subscriptions.NewClient(config.SubscriptionsURL, nil); err != nil {
			return nil, fmt.Errorf("%w: the subscriptions: %w", service.ErrConfig, err)
		}
		own.StatusURL = config.SubscriptionsURL + "/commands/"
	}
	return service.NewCommander(config.Named("commander"), calculator, Commands, own, routes(shown)...)
}

// remoteView reads values from a view in another process.
func remoteView(base string) present {
	client := commands.NewHTTPClient()
	type row struct {
		ValueID string `json:"value_id"`
		Value   Number `json:"value"`
	}
	decode := codecs.JSON[row](codecs.AllowUnknown())
	return func(ctx context.Context, id string) (Value, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/values/"+url.PathEscape(id), nil)
		if err != nil {
			return Value{}, err
		}
		auth.Attach(ctx, request)
		response, err := client.Do(request)
		if err != nil {
			return Value{}, err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
		if err == nil && response.StatusCode != http.StatusOK {
			err = errors.New("the view answered " + response.Status)
		}
		if err != nil {
			return Value{}, err
		}
		read, err := decode.Decode(body)
		return Value{Value: read.Value}, err
	}
}
