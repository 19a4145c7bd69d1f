package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/internal/prefer"
	"github.com/tidemill/tidemill/commands/outcome"
)

// ErrRemote is wrapped round what goes wrong with another process.
var ErrRemote = errors.New("asking another process")

// RemotePositions asks a view in another process, by any query of its HTTP resource: it sends the token along, and the
// view answers once it shows the command's effect.
type RemotePositions struct {
	url    string
	client *http.Client
}

// NewRemotePositions returns Positions that ask the query at an absolute URL, such as "http://view:3031/values?limit=1".
// A nil client means one with a pool of connections of its own.
func NewRemotePositions(query string, client *http.Client) (*RemotePositions, error) {
	parsed, err := url.Parse(query)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, fmt.Errorf("%w: %q is not an absolute URL of http or https", ErrConfig, query)
	}
	if client == nil {
		client = NewHTTPClient()
	}
	return &RemotePositions{url: query, client: client}, nil
}

// NewHTTPClient returns a client for one other process: it keeps as many connections as there are waits.
func NewHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConns: 256, MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: time.Minute,
	}}
}

// Await implements Positions.
func (p *RemotePositions) Await(ctx context.Context, position outcome.Position) error {
	for {
		reached, err := p.ask(ctx, position)
		if reached || err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// ask waits as long as ctx and the view allow.
func (p *RemotePositions) ask(ctx context.Context, position outcome.Position) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, p.url, nil)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrRemote, err)
	}
	auth.Attach(ctx, request)
	request.Header.Set(TokenHeader, position.String())
	if deadline, ok := ctx.Deadline(); ok {
		request.Header.Set("Prefer", "wait="+prefer.Seconds(max(time.Until(deadline).Round(time.Millisecond), time.Millisecond)))
	}
	response, err := p.client.Do(request)
	if err != nil {
		return false, fmt.Errorf("%w: the view: %w", ErrRemote, err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16)) // so that the connection can be used again
	switch response.StatusCode {
	case http.StatusOK, http.StatusNoContent, http.StatusNotModified, http.StatusNotFound:
		return true, nil
	case http.StatusGatewayTimeout:
		return false, nil
	}
	return false, fmt.Errorf("%w: the view answered %s", ErrRemote, response.Status)
}
