package commands

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/problem"
)

// retryAfter is when to come again after a 503.
const retryAfter = time.Second

// refuse answers a request that is not let in.
func (x *exchange[K, C]) refuse(bad *refusal) {
	details := problem.Details{Status: bad.status, Detail: bad.detail}
	if len(bad.members) > 0 {
		details.Extra = map[string]any{"errors": bad.members}
	}
	x.c.config.Logger.Debug("refused a request", "route", x.route.name, "status", bad.status, "detail", bad.detail)
	problem.Write(x.w, details)
}

func conflict() *refusal {
	return refuse(http.StatusUnprocessableEntity, "this %s has come with another request before; a new request needs a new key", keyHeader)
}

func (x *exchange[K, C]) unavailable(detail string) {
	problem.Write(x.w, problem.Details{Status: http.StatusServiceUnavailable, Detail: detail, RetryAfter: retryAfter})
}

// notWritten answers a request whose command the log has not acknowledged.
func (x *exchange[K, C]) notWritten(err error) {
	failed, ok := errors.AsType[*writeError](err)
	if !ok {
		failed = &writeError{cause: err, unknown: true}
	}
	x.c.config.Logger.Error("the log did not take a command", "command", x.request.command, "route", x.route.name,
		"unknown", failed.unknown, "error", err)
	x.w.Header().Set(CommandHeader, x.request.command)
	switch {
	case failed.tooLarge:
		x.refuse(refuse(http.StatusRequestEntityTooLarge, "the command is larger than the log takes"))
	case !failed.unknown:
		x.unavailable("the log takes no commands at the moment; this one is not written, send it again")
	case x.keyed:
		x.unavailable("the log did not answer in time and may have the command all the same; send it again with the same " + keyHeader + " and it is applied once")
	default:
		x.unavailable("the log did not answer in time and may have the command all the same; look at its status before sending it again, or send an " + keyHeader + " from the first time on")
	}
}

// tell answers with the outcome.
func (x *exchange[K, C]) tell(found outcome.Outcome, shown bool) {
	switch found.Status {
	case outcome.Rejected:
		x.c.log.show("command rejected", "command", found.ID, "kind", found.Kind, "reason", found.Reason)
		x.reject(found)
	case outcome.Failed:
		x.c.config.Logger.Error("command failed and lies in the dead-letter topic", "command", found.ID, "kind", found.Kind, "reason", found.Reason)
		x.reject(found)
	case outcome.Accepted:
		x.c.log.show("command accepted", "command", found.ID, "events", len(found.Events), "duplicate", found.Duplicate)
		if shown {
			x.accept(found)
			return
		}
		x.pending(found)
	default:
		x.pending(found)
	}
}

func (x *exchange[K, C]) statusURL() string {
	return x.c.config.StatusURL + url.PathEscape(x.request.command)
}

// reject answers 404, 409, 422 or, for a command that failed, 500.
func (x *exchange[K, C]) reject(found outcome.Outcome) {
	detail := found.Reason
	if detail == "" {
		detail = "the command was " + string(found.Status)
	}
	if found.Status == outcome.Failed {
		detail = "the command could not be processed and was set aside: " + detail
	}
	problem.Write(x.w, problem.Details{
		Status: found.HTTPStatus(), Detail: detail, Instance: x.statusURL(),
		Extra: map[string]any{"id": found.ID, "kind": found.Kind, "command-status": found.Status},
	})
}

// pending answers 202: the command is in the log, and its status resource tells the rest.
func (x *exchange[K, C]) pending(found outcome.Outcome) {
	x.w.Header().Set("Location", x.statusURL())
	x.write(http.StatusAccepted, x.body(x.route.RenderPending, found))
}

// body returns what the route renders, or the outcome.
func (x *exchange[K, C]) body(render func(context.Context, *Request, K, C, Outcome) ([]byte, error), found outcome.Outcome) []byte {
	if render == nil {
		return encodeOutcome(found)
	}
	body, err := render(auth.Forward(x.r), x.request, x.key, x.command, found)
	if err != nil {
		x.c.config.Logger.Warn("the answer to a command could not be rendered", "command", found.ID, "status", found.Status, "error", err)
		return encodeOutcome(found)
	}
	return body
}

// accept answers as the route has it.
func (x *exchange[K, C]) accept(found outcome.Outcome) {
	if x.route.Location != nil {
		x.w.Header().Set("Location", x.route.Location(x.request, x.key, x.command))
	}
	if x.route.Status == http.StatusNoContent {
		x.w.WriteHeader(http.StatusNoContent)
		return
	}
	x.write(x.route.Status, x.body(x.route.Render, found))
}

func (x *exchange[K, C]) write(status int, body []byte) {
	header := x.w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	x.w.WriteHeader(status)
	// The client is gone when this fails; the command is in the log all the same.
	_, _ = x.w.Write(body)
}

func encodeOutcome(found outcome.Outcome) []byte {
	body, err := json.Marshal(found)
	if err != nil {
		// Strings and integers: there is nothing that JSON cannot hold.
		return []byte("{}")
	}
	return body
}
