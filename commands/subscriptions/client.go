package subscriptions

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/internal/prefer"
	"github.com/tidemill/tidemill/commands/outcome"
)

// maxOutcome bounds what is read of an answer, in bytes.
const maxOutcome = 1 << 20

// Client asks a subscriptions component in another process; it is a commands.Outcomes.
type Client struct {
	base   string
	client *http.Client
}

var (
	_ commands.Outcomes     = (*Client)(nil)
	_ commands.Outcomes     = (*Subscriptions)(nil)
	_ commands.Fingerprints = (*Subscriptions)(nil)
)

// NewClient returns a client of the component at an absolute URL, such as "http://subscriptions:3033". A nil client means
// one with a pool of connections of its own; set its Transport for authorization.
func NewClient(base string, client *http.Client) (*Client, error) {
	parsed, err := url.Parse(base)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, fmt.Errorf("%w: %q is not an absolute URL of http or https", ErrConfig, base)
	}
	if client == nil {
		client = commands.NewHTTPClient()
	}
	return &Client{base: strings.TrimSuffix(base, "/"), client: client}, nil
}

// Await implements commands.Outcomes.
func (c *Client) Await(ctx context.Context, command outcome.Command) (outcome.Outcome, error) {
	found := outcome.Outcome{ID: command.ID, Status: outcome.Pending, Token: command.Position.String()}
	for {
		got, err := c.ask(ctx, command)
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
		if err != nil {
			return found, err
		}
		if got.Known() {
			return got, nil
		}
	}
}

// ask waits as long as ctx and the component allow.
func (c *Client) ask(ctx context.Context, command outcome.Command) (outcome.Outcome, error) {
	var found outcome.Outcome
	target := c.base + "/commands/" + url.PathEscape(command.ID) + "?token=" + url.QueryEscape(command.Position.String())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return found, fmt.Errorf("%w: %w", commands.ErrRemote, err)
	}
	auth.Attach(ctx, request)
	wait := time.Second
	if deadline, ok := ctx.Deadline(); ok {
		wait = max(time.Until(deadline).Round(time.Millisecond), time.Millisecond)
	}
	request.Header.Set("Prefer", "wait="+prefer.Seconds(wait))
	response, err := c.client.Do(request)
	if err != nil {
		return found, fmt.Errorf("%w: the subscriptions: %w", commands.ErrRemote, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxOutcome))
	switch {
	case err != nil:
		return found, fmt.Errorf("%w: the subscriptions: %w", commands.ErrRemote, err)
	case response.StatusCode == http.StatusNotFound:
		return found, nil // it waited, and has not read so far yet
	case response.StatusCode != http.StatusOK:
		return found, fmt.Errorf("%w: the subscriptions answered %s", commands.ErrRemote, response.Status)
	}
	if err := json.Unmarshal(body, &found); err != nil {
		return outcome.Outcome{}, fmt.Errorf("%w: the subscriptions' answer does not decode: %w", commands.ErrRemote, err)
	}
	return found, nil
}
