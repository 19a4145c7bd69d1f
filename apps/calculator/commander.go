package calculator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/commands/subscriptions"
)

// produceTimeout bounds the wait for the log's acknowledgement. A client is better served by a 503 that it can act on
// than by silence.
const produceTimeout = 3 * time.Second

// commander takes in commands.
type commander struct {
	config Config
	inner  *commands.Commander[string, Command]
}

// Commander returns the commander: it answers POST /values and PUT /values/{id}.
func Commander(config Config) (Component, error) { return newCommander(config, nil, nil) }

// newCommander returns a commander that asks the given components, or those elsewhere where they are nil.
func newCommander(config Config, view *view, outcomes *subscribed) (*commander, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	inner := commands.Config[string, Command]{
		Application: "calculator",
		Topic:       commands.Topic[string, Command]{Name: Commands.Name(), Key: Commands.Key(), Value: Commands.Value()},
		Cluster:     config.Kafka, ProduceTimeout: produceTimeout, Wait: config.Wait, Authorizer: config.Authorizer,
		Logger: config.named("commander"), LogCommands: config.LogCommands, Registerer: config.Metrics,
		Outputs: commands.Outputs{
			Group: Group, Events: []string{Events.Name()}, Rejections: []string{Rejections.Name()}, DeadLetters: []string{DeadLetters},
			EventID: eventID,
		},
	}
	var shown present
	if view != nil {
		inner.Positions, shown = view.inner, view.present
	} else if config.ViewURL != "" {
		if inner.Positions, err = commands.NewRemotePositions(config.ViewURL+"/values?limit=1", nil); err != nil {
			return nil, fmt.Errorf("%w: the view: %w", ErrConfig, err)
		}
		shown = remoteView(config.ViewURL)
	}
	if outcomes != nil {
		inner.Outcomes = outcomes.inner
	} else if config.SubscriptionsURL != "" {
		if inner.History, err = subscriptions.NewClient(config.SubscriptionsURL, nil); err != nil {
			return nil, fmt.Errorf("%w: the subscriptions: %w", ErrConfig, err)
		}
		inner.StatusURL = config.SubscriptionsURL + "/commands/"
	}
	made, err := commands.New(inner)
	if err != nil {
		return nil, err
	}
	if err := routes(made, shown); err != nil {
		made.Close()
		return nil, err
	}
	return &commander{config: config, inner: made}, nil
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

// Name implements Component.
func (*commander) Name() string { return "commander" }

// Run implements Component.
func (c *commander) Run(ctx context.Context) error {
	if err := c.config.prepare(ctx, c.config.named("commander")); err != nil || ctx.Err() != nil {
		return err
	}
	return c.inner.Run(ctx)
}

// Ready implements Component.
func (c *commander) Ready() error {
	if c.inner.Ready() {
		return nil
	}
	return errors.New("reading outcomes up to now")
}

// Mount implements Component.
func (c *commander) Mount(mux *http.ServeMux) { c.inner.Mount(mux) }

// Stopping implements Component.
func (*commander) Stopping() {}

// Close implements Component.
func (c *commander) Close() error {
	c.inner.Close()
	return nil
}
