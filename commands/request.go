package commands

import (
	"context"
	"encoding/json/jsontext"
	jsonv2 "encoding/json/v2"
	"errors"
	"net/http"
	"net/url"
)

// Request is what a route makes a command of. Its body has passed the route's schema. It belongs to the goroutine that
// Build is called by and must not be kept.
type Request struct {
	request   *http.Request
	body      []byte
	principal Principal
	command   string
	timestamp int64
	ids       deriver
}

// Context is the request's; it is done when the client goes away.
func (r *Request) Context() context.Context { return r.request.Context() }

// PathValue returns what stands for a wildcard of the route's pattern, "" if there is none of that name. It is valid
// UTF-8 without control characters.
func (r *Request) PathValue(name string) string { return r.request.PathValue(name) }

// Query returns the parameters of the URL's query.
func (r *Request) Query() url.Values { return r.request.URL.Query() }

// Body returns the body's bytes, not to be changed; nil for a route without a schema.
func (r *Request) Body() []byte { return r.body }

// JSON reads the body into a T by encoding/json/v2. A member that T does not know is an error. The error names the
// member and can be returned from Build as it is.
func (r *Request) JSON[T any]() (T, error) {
	var value T
	err := jsonv2.Unmarshal(r.body, &value, jsonv2.RejectUnknownMembers(true))
	if err == nil {
		return value, nil
	}
	invalid := &InvalidError{Detail: "this does not fit what is wanted here", Status: http.StatusUnprocessableEntity}
	if semantic, ok := errors.AsType[*jsonv2.SemanticError](err); ok {
		invalid.Pointer = string(semantic.JSONPointer)
		if semantic.Err != nil {
			invalid.Detail = semantic.Err.Error()
		}
	} else if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		invalid.Pointer = string(syntax.JSONPointer)
	}
	return value, invalid
}

// Principal is who sends the request.
func (r *Request) Principal() Principal { return r.principal }

// CommandID returns the command's id, a UUID: under an idempotency key the same for every retry, else a new one.
func (r *Request) CommandID() string { return r.command }

// NewID returns an id that the server chooses, a UUID that derives from the command's: the same for every retry. The
// name tells several ids of one command apart.
func (r *Request) NewID(name string) string { return r.ids.chosen(r.command, name) }

// Timestamp is when the commander took the request, in milliseconds since the epoch: the command's time from here on.
func (r *Request) Timestamp() int64 { return r.timestamp }
