// Package webtest asks HTTP servers, and reads their streams of events, for tests.
package webtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Answer is an HTTP answer, read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Ask sends a request; headers come as name and value in turn. A body is JSON unless they say otherwise.
func Ask(ctx context.Context, client *http.Client, method, url, body string, headers ...string) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return Answer{response.StatusCode, response.Header, string(data)}, err
}

// Event is one server-sent event, an id that came without one, or a comment.
type Event struct{ ID, Name, Data, Comment string }

// Events is a stream of server-sent events. Its methods are for one goroutine, but for Close.
type Events struct {
	lines  *bufio.Reader
	cancel context.CancelFunc
	body   io.Closer
}

// Follow opens a stream, after the event with an id if last is not "". The context's end is the stream's.
func Follow(ctx context.Context, url, last string, headers ...string) (*Events, error) {
	ctx, cancel := context.WithCancel(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	request.Header.Set("Accept", "text/event-stream")
	if last != "" {
		request.Header.Set("Last-Event-ID", last)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		cancel()
		return nil, err
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		said, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10)) // what there is of it
		response.Body.Close()
		cancel()
		return nil, fmt.Errorf("the stream was answered %s: %s", response.Status, said)
	}
	return &Events{lines: bufio.NewReader(response.Body), cancel: cancel, body: response.Body}, nil
}

// Close hangs up.
func (e *Events) Close() {
	e.cancel()
	e.body.Close()
}

// Next returns the next event, id or comment; advice when to try again is passed over. At the end it returns io.EOF, or why
// the stream broke off.
func (e *Events) Next() (next Event, err error) {
	for {
		line, err := e.lines.ReadString('\n')
		if err != nil {
			return next, err
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && next != (Event{}):
			return next, nil
		case line == "" || name == "retry":
		case strings.HasPrefix(line, ":"):
			next.Comment = value
		case name == "id":
			next.ID = value
		case name == "event":
			next.Name = value
		case name == "data":
			next.Data += value
		default:
			return next, errors.New("an odd line: " + line)
		}
	}
}

// Named returns the next event that has a name.
func (e *Events) Named() (Event, error) {
	for {
		next, err := e.Next()
		if err != nil || next.Name != "" {
			return next, err
		}
	}
}
