package commands

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Route is one way to give a command. K is the type of its key and C that of the command.
type Route[K, C any] struct {
	// Method and Pattern are the request's method and path, with wildcards as http.ServeMux has them: "/values/{id}".
	Method, Pattern string
	// Name stands for the route in metrics; empty means method and pattern.
	Name string
	// Schema is the JSON Schema of the body, draft 2020-12 unless it names another. Members it does not list are refused
	// only if it says "additionalProperties": false. Empty means that the route takes no body.
	Schema string
	// Scopes are what the principal must have been granted; they count only if there is an Authorizer.
	Scopes []string
	// Parameters are the names of the query parameters that Build reads, each given once at most; requests with others are refused, so that
	// a misspelt one does not go unnoticed.
	Parameters []string
	// RequireKey refuses requests without an Idempotency-Key.
	RequireKey bool

	// Build makes the command. It must be a pure function of the request. An *InvalidError is answered with its status,
	// any other error with 422; the client reads its text.
	Build func(r *Request) (K, C, error)
	// Allow, if set, is asked whether the principal may give this command. Its error is answered with 403 and its text.
	Allow func(principal Principal, command C) error

	// Status answers an accepted command: 200 (also if 0), 201 or 204.
	Status int
	// Wait is how long the answer waits for the outcome where the client does not say; 0 takes Config.Wait, negative means
	// not at all.
	Wait time.Duration
	// Location, if set, returns the URL of what the command made or changed, for the Location header of that answer.
	Location func(r *Request, key K, command C) string
	// Render, if set, returns the JSON body of that answer; without it the outcome is the body. If it fails the outcome
	// is, too: the command was accepted all the same.
	Render func(ctx context.Context, r *Request, key K, command C, found Outcome) ([]byte, error)
	// RenderPending, if set, returns the JSON body of the answer 202, of a command whose outcome is not known yet or not
	// shown by the view yet; without it, or if it fails, the outcome as far as it is known is the body.
	RenderPending func(ctx context.Context, r *Request, key K, command C, found Outcome) ([]byte, error)
}

// compiled is a route with what was made of it once.
type compiled[K, C any] struct {
	Route[K, C]
	name      string
	schema    *schema
	wildcards []string
}

func (r Route[K, C]) compile() (*compiled[K, C], error) {
	c := &compiled[K, C]{Route: r, name: r.Name, wildcards: wildcards(r.Pattern)}
	if c.name == "" {
		c.name = r.Method + " " + r.Pattern
	}
	var wrong []error
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		wrong = append(wrong, fmt.Errorf("method %q: commands come by POST, PUT, PATCH or DELETE", r.Method))
	}
	if !strings.HasPrefix(r.Pattern, "/") {
		wrong = append(wrong, fmt.Errorf("pattern %q: it must begin with a slash", r.Pattern))
	}
	if r.Build == nil {
		wrong = append(wrong, errors.New("its function Build is missing"))
	}
	switch r.Status {
	case 0:
		c.Status = http.StatusOK
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
	default:
		wrong = append(wrong, fmt.Errorf("status %d: an accepted command is answered with 200, 201 or 204", r.Status))
	}
	if r.Schema != "" {
		var err error
		if c.schema, err = compile(r.Schema); err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("%w: route %s: %w", ErrConfig, c.name, errors.Join(wrong...))
	}
	return c, nil
}

// wildcards lists the names in a pattern's braces.
func wildcards(pattern string) []string {
	var names []string
	for _, segment := range strings.Split(pattern, "/") {
		if strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "}") {
			if name := strings.TrimSuffix(segment[1:len(segment)-1], "..."); name != "" && name != "$" {
				names = append(names, name)
			}
		}
	}
	return names
}
