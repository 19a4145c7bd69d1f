package auth

import (
	"context"
	"net/http"
)

// A commander in a process of its own asks the view and the subscriptions on behalf of the client that it answers, so it
// shows them the client's own credentials: it needs none itself, and can see no more than the client.

type forwardKey struct{}

// Forward returns a context that carries the request's credentials to components that are asked for its sake.
func Forward(r *http.Request) context.Context {
	credentials := r.Header.Get("Authorization")
	if credentials == "" {
		return r.Context()
	}
	return context.WithValue(r.Context(), forwardKey{}, credentials)
}

// Attach puts the credentials that Forward took, if any, on a request to another component.
func Attach(ctx context.Context, r *http.Request) {
	if credentials, ok := ctx.Value(forwardKey{}).(string); ok {
		r.Header.Set("Authorization", credentials)
	}
}
