// Package auth says who may do what on the write side. An Authorizer turns a request into a Principal; what the
// principal may do is asked for by scope, route by route, and by functions of the application.
//
// Package jwtauth holds an Authorizer for bearer tokens.
package auth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/internal/problem"
)

// retryAfter is when to come again where an authorizer is in trouble.
const retryAfter = time.Second

// ErrForbidden means that who asks is known and may not do this. Wrap it to say why; the text goes to the client.
var ErrForbidden = errors.New("forbidden")

// Principal is who sends a request. It is a value; its slices must not be changed. The zero Principal is anonymous: that
// of every request while there is no authorization.
type Principal struct {
	// ID names the principal. It goes into derived command ids and into the log, so it must be stable. Empty means
	// anonymous.
	ID string
	// Scopes are what the principal was granted.
	Scopes []string
	// Issuer is who vouches for the principal; may be empty.
	Issuer string
	// Expires is from when on that no longer holds: a stream that is open ends then, so that its client comes back and is asked
	// again. The zero time is never.
	Expires time.Time
}

// Has reports whether the principal was granted every one of the scopes.
func (p Principal) Has(scopes ...string) bool {
	for _, scope := range scopes {
		if !slices.Contains(p.Scopes, scope) {
			return false
		}
	}
	return true
}

// Authorizer tells who sends a request. Authorize is called by many goroutines at once, and before the body is read,
// which it must not do. It returns an *UnauthorizedError where it cannot tell, an error that wraps ErrForbidden where
// it can and the principal may do nothing at all, and any other error where it is itself in trouble: the client is then
// asked to come again.
type Authorizer interface {
	Authorize(ctx context.Context, r *http.Request) (Principal, error)
}

// Func is an Authorizer made of a function.
type Func func(ctx context.Context, r *http.Request) (Principal, error)

// Authorize calls f.
func (f Func) Authorize(ctx context.Context, r *http.Request) (Principal, error) { return f(ctx, r) }

// UnauthorizedError refuses a request whose sender is not known.
type UnauthorizedError struct {
	// Challenge is the WWW-Authenticate header (RFC 9110, section 11.6.1).
	Challenge string
	// Detail tells the client what is wrong.
	Detail string
}

// Error returns Detail.
func (e *UnauthorizedError) Error() string { return e.Detail }

// Until returns a context that ends when the principal is to be asked again who it is, with context.DeadlineExceeded.
func (p Principal) Until(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.Expires.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, p.Expires)
}

// Check authorizes a request and asks for scopes. If it returns false the request has been answered: 401 with a
// challenge, 403, or 503. A nil authorizer lets everyone pass as anonymous.
func Check(w http.ResponseWriter, r *http.Request, authorizer Authorizer, scopes ...string) (Principal, bool) {
	if authorizer == nil {
		return Principal{}, true
	}
	principal, err := authorizer.Authorize(r.Context(), r)
	if err != nil {
		Refuse(w, err)
		return Principal{}, false
	}
	if !principal.Has(scopes...) {
		// RFC 6750, section 3.1.
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+strings.Join(scopes, " ")+`"`)
		problem.Write(w, problem.Details{
			Status: http.StatusForbidden, Detail: "this needs the scope " + strings.Join(scopes, " "),
		})
		return Principal{}, false
	}
	return principal, true
}

// Refuse answers a request with what an Authorizer, or a function that allows, returned.
func Refuse(w http.ResponseWriter, err error) {
	if unauthorized, ok := errors.AsType[*UnauthorizedError](err); ok {
		challenge := unauthorized.Challenge
		if challenge == "" {
			challenge = "Bearer"
		}
		w.Header().Set("WWW-Authenticate", challenge)
		problem.Write(w, problem.Details{Status: http.StatusUnauthorized, Detail: unauthorized.Detail})
		return
	}
	if errors.Is(err, ErrForbidden) {
		problem.Write(w, problem.Details{Status: http.StatusForbidden, Detail: err.Error()})
		return
	}
	problem.Write(w, problem.Details{
		Status: http.StatusServiceUnavailable, Detail: "who you are cannot be checked at the moment", RetryAfter: retryAfter,
	})
}
