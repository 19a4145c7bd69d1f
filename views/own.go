package views

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/problem"
)

// AwaitToken does for an application's own handler what a view's Handler does with a request's position token: it waits for
// it, with await, as long as "Prefer: wait=N" says, up to DefaultMaxWait, else DefaultWait. If it returns false the request
// has been answered: 400, 503 or 504. A request without a token passes at once.
//
// await is one view's Await, or asks several.
func AwaitToken(w http.ResponseWriter, r *http.Request, await func(context.Context, Token) error) bool {
	named, text := r.Header[HeaderToken], r.URL.Query().Get("token")
	if len(named) == 0 && text == "" {
		return true
	}
	if len(named) > 1 || len(named) == 1 && text != "" && text != named[0] {
		refuse(w, errors.New("more than one position token was sent"))
		return false
	}
	if len(named) == 1 {
		text = named[0]
	}
	token, err := ParseToken(text)
	if err != nil {
		refuse(w, err)
		return false
	}
	wait, asked := preferredWait(r.Header["Prefer"])
	if asked {
		wait = min(wait, DefaultMaxWait)
		w.Header().Set("Preference-Applied", "wait="+strconv.FormatFloat(wait.Seconds(), 'f', -1, 64))
	} else {
		wait = DefaultWait
	}
	deadline := time.Now().Add(wait)
	if given, found := r.Context().Value(deadlineKey{}).(time.Time); found {
		deadline = given // it has waited for something else already
	}
	ctx, cancel := context.WithDeadline(r.Context(), deadline)
	defer cancel()
	err = await(ctx, token)
	switch {
	case err == nil:
		return true
	case bridge.AwaitTimedOut(err) && r.Context().Err() == nil:
		problem.Write(w, problem.Details{
			Type: "urn:tidemill:token-not-reached", Title: "The view is not there yet", Status: http.StatusGatewayTimeout,
			Detail: "the effect of the token's command was not readable within " + wait.String() + "; ask again, or with a longer Prefer: wait",
			Extra:  map[string]any{"token": text},
		})
	default:
		Refuse(w, r, err)
	}
	return false
}

// Refuse answers a request of an application's own handler with the error of a view, as problem+json: 400 for a cursor or a
// token that cannot be used, 503 with Retry-After while the view is not restored or the request is cut off, else 500.
func Refuse(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, ErrCursor), errors.Is(err, ErrForeignToken):
		refuse(w, err)
	case errors.Is(err, ErrNoProcessor):
		problem.Write(w, problem.Details{Type: "urn:tidemill:tokens-not-followed", Status: http.StatusNotImplemented, Detail: err.Error()})
	case errors.Is(err, ErrNotReady):
		problem.Write(w, problem.Details{
			Type: "urn:tidemill:not-restored", Title: "The view is being restored", Status: http.StatusServiceUnavailable, RetryAfter: time.Second,
			Detail: "ask again in a moment",
		})
	case r.Context().Err() != nil:
		problem.Write(w, problem.Details{Status: http.StatusServiceUnavailable, RetryAfter: time.Second, Detail: "the query was cut off"})
	default:
		problem.Write(w, problem.Details{Status: http.StatusInternalServerError, Detail: "the view cannot answer; its log says why"})
	}
}

// Malformed answers 400 to a request of an application's own handler, with what is wrong with it.
func Malformed(w http.ResponseWriter, detail string) { refuse(w, errors.New(detail)) }

// Problem answers a request of an application's own handler with a status of 400 or above, as problem+json.
func Problem(w http.ResponseWriter, status int, detail string) {
	problem.Write(w, problem.Details{Status: status, Detail: detail})
}
