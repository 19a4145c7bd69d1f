package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/internal/prefer"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/meta"
)

// maxPathValue bounds what stands for a wildcard, in bytes: it becomes a key of the log and of stores.
const maxPathValue = 1024

// exchange is one request on its way.
type exchange[K, C any] struct {
	c       *Commander[K, C]
	route   *compiled[K, C]
	w       *recorder
	r       *http.Request
	prefer  prefer.Preferences
	request *Request
	keyed   bool
	print   []byte // the fingerprint
	key     K
	command C
}

// recorder remembers the status for the metrics.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the writer.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (c *Commander[K, C]) handler(route *compiled[K, C]) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorded := &recorder{ResponseWriter: w}
		c.metrics.inFlight.Inc()
		defer func() {
			c.metrics.inFlight.Dec()
			c.metrics.answered(route.name, recorded.status)
		}()
		x := &exchange[K, C]{c: c, route: route, w: recorded, r: r}
		select {
		case c.slots <- struct{}{}:
			defer func() { <-c.slots }()
		default:
			x.unavailable("too many requests are being worked on; the command is not written")
			return
		}
		x.serve()
	})
}

// serve lets the request in, writes its command and answers.
func (x *exchange[K, C]) serve() {
	principal, ok := x.c.authorize(x.w, x.r, x.route.Scopes)
	if !ok {
		return
	}
	if bad := x.build(principal); bad != nil {
		x.refuse(bad)
		return
	}
	if x.route.Allow != nil {
		if err := x.route.Allow(principal, x.command); err != nil {
			x.refuse(refuse(http.StatusForbidden, "%s", err.Error()))
			return
		}
	}
	if x.conflicts() {
		x.refuse(conflict())
		return
	}
	record, err := x.record(principal)
	if err != nil {
		// The schema let through what the codec cannot write, such as a number beyond a float: the request's fault.
		x.refuse(refuse(http.StatusUnprocessableEntity, "the command cannot be written down: %s", err.Error()))
		return
	}
	began := time.Now()
	position, err := x.c.producer.produce(x.r.Context(), record)
	if err != nil {
		x.notWritten(err)
		return
	}
	x.c.metrics.produce.Observe(time.Since(began).Seconds())
	if x.keyed {
		x.c.memory.remember(x.request.command, x.print)
	}
	x.c.log.show("received command", "command", x.request.command, "route", x.route.name,
		"partition", position.Partition, "offset", position.Offset, "timestamp", x.request.timestamp)
	x.answer(position)
}

// build reads the request and makes the command of it.
func (x *exchange[K, C]) build(principal Principal) *refusal {
	key, err := idempotencyKey(x.r.Header)
	if err != nil {
		return refuse(http.StatusBadRequest, "%s", err.Error())
	}
	x.keyed = key != ""
	if !x.keyed && x.route.RequireKey {
		return refuse(http.StatusBadRequest, "an %s header is needed here: send a unique value, such as a UUID, and the same again with a retry", keyHeader)
	}
	for _, name := range x.route.wildcards {
		if bad := checkPathValue(name, x.r.PathValue(name)); bad != nil {
			return bad
		}
	}
	if bad := x.checkParameters(); bad != nil {
		return bad
	}
	x.prefer = prefer.Parse(x.r.Header)
	body, bad := x.readBody()
	if bad != nil {
		return bad
	}
	path := x.r.URL.EscapedPath()
	x.request = &Request{
		request: x.r, body: body, principal: principal, ids: x.c.ids, timestamp: x.c.config.Clock().UnixMilli(),
	}
	if x.keyed {
		x.request.command = x.c.ids.command(principal, x.r.Method, path, key)
	} else {
		x.request.command = uuid.NewString()
	}
	x.print = fingerprint(x.r.Method, path+"?"+x.r.URL.RawQuery, body)
	return x.callBuild()
}

// checkParameters refuses parameters that the route does not take.
func (x *exchange[K, C]) checkParameters() *refusal {
	if x.r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		return refuse(http.StatusBadRequest, "the query cannot be read: %s", err.Error())
	}
	for name, given := range query {
		switch {
		case !slices.Contains(x.route.Parameters, name) && len(x.route.Parameters) == 0:
			return refuse(http.StatusBadRequest, "the parameter %.40q does not belong here; there are none", name)
		case !slices.Contains(x.route.Parameters, name):
			return refuse(http.StatusBadRequest, "the parameter %.40q does not belong here; possible are %s", name, strings.Join(x.route.Parameters, ", "))
		case len(given) > 1:
			return refuse(http.StatusBadRequest, "the parameter %q is given more than once", name)
		}
	}
	return nil
}

func (x *exchange[K, C]) readBody() ([]byte, *refusal) {
	if x.route.schema == nil {
		return nil, readNoBody(x.r)
	}
	body, bad := readBody(x.w.ResponseWriter, x.r, x.c.config.BodyLimit)
	if bad != nil {
		return nil, bad
	}
	value, bad := parseBody(body, x.c.config.MaxDepth)
	if bad != nil {
		return nil, bad
	}
	return body, x.route.schema.check(value)
}

// callBuild runs the application's function. A panic there is the application's fault and is told the log's readers,
// not the client.
func (x *exchange[K, C]) callBuild() (bad *refusal) {
	defer func() {
		if fault := recover(); fault != nil {
			x.c.config.Logger.Error("building a command panicked", "route", x.route.name, "panic", fault)
			bad = refuse(http.StatusInternalServerError, "the command could not be made of the request")
		}
	}()
	var err error
	x.key, x.command, err = x.route.Build(x.request)
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*InvalidError](err)
	if !ok {
		return refuse(http.StatusUnprocessableEntity, "%s", err.Error())
	}
	status := invalid.Status
	if status < 400 || status > 499 {
		status = http.StatusUnprocessableEntity
	}
	bad = refuse(status, "%s", invalid.Detail)
	if invalid.Pointer != "" {
		bad.members = append(bad.members, member{Detail: invalid.Detail, Pointer: "#" + invalid.Pointer})
	}
	return bad
}

func checkPathValue(name, value string) *refusal {
	switch {
	case value == "":
		return refuse(http.StatusBadRequest, "{%s} in the path is empty", name)
	case len(value) > maxPathValue:
		return refuse(http.StatusBadRequest, "{%s} in the path is longer than %d bytes", name, maxPathValue)
	case !utf8.ValidString(value):
		return refuse(http.StatusBadRequest, "{%s} in the path is not UTF-8", name)
	}
	for _, r := range value {
		if unicode.IsControl(r) {
			return refuse(http.StatusBadRequest, "{%s} in the path has control characters", name)
		}
	}
	return nil
}

// conflicts reports whether the key is known to have come with another request.
func (x *exchange[K, C]) conflicts() bool {
	if !x.keyed {
		return false
	}
	if x.c.memory.conflicts(x.request.command, x.print) {
		return true
	}
	known, ok := x.c.outcomes.(Fingerprints)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(auth.Forward(x.r), time.Second)
	defer cancel()
	first, found, err := known.Fingerprint(ctx, x.request.command)
	// On an error the processor finds out: it compares fingerprints too.
	return err == nil && found && string(first) != string(x.print)
}

// record encodes the command.
func (x *exchange[K, C]) record(principal Principal) (*kgo.Record, error) {
	topic := x.c.config.Topic
	key, err := topic.Key.Append(nil, x.key)
	if err != nil {
		return nil, fmt.Errorf("its key: %w", err)
	}
	value, err := topic.Value.Append(nil, x.command)
	if err != nil {
		return nil, err
	}
	record := &kgo.Record{
		Topic: topic.Name, Key: key, Value: value, Timestamp: time.UnixMilli(x.request.timestamp),
		Headers: []kgo.RecordHeader{
			{Key: meta.Command, Value: []byte(x.request.command)},
			{Key: meta.Fingerprint, Value: x.print},
		},
	}
	if partitioner := codecs.PartitionerOf(topic.Key); partitioner != nil {
		log.SetPartitionKey(record, codecs.AppendPartitionKey(partitioner, nil, key))
	}
	if principal.ID != "" {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: meta.Principal, Value: []byte(principal.ID)})
	}
	if speaking, ok := topic.Value.(codecs.HeaderCodec[C]); ok {
		for _, header := range speaking.AppendHeaders(nil, x.command) {
			record.Headers = append(record.Headers, kgo.RecordHeader(header))
		}
	}
	return record, nil
}

// wait is how long the answer may wait for the outcome.
func (x *exchange[K, C]) wait() time.Duration {
	switch {
	case x.prefer.RespondAsync && !x.prefer.HasWait:
		return 0
	case x.prefer.HasWait:
		return min(x.prefer.Wait, x.c.config.MaxWait)
	}
	return max(cmp.Or(x.route.Wait, x.c.config.Wait), 0)
}

// answer waits as long as it may for the outcome and tells it.
func (x *exchange[K, C]) answer(position outcome.Position) {
	header := x.w.Header()
	header.Set(TokenHeader, position.String())
	header.Set(CommandHeader, x.request.command)
	wait := x.wait()
	x.applied(wait)
	command := outcome.Command{ID: x.request.command, Position: position, Retry: x.keyed}
	found, shown := outcome.Outcome{ID: command.ID, Status: outcome.Pending, Token: position.String()}, false
	if wait > 0 {
		ctx, cancel := context.WithTimeout(auth.Forward(x.r), wait)
		found, shown = x.c.waitFor(ctx, command)
		cancel()
		x.c.metrics.outcomes.WithLabelValues(string(found.Status)).Inc()
	}
	x.tell(found, shown)
}

// applied says which preferences were honoured (RFC 7240, section 3). Wait beside respond-async means: wait so long,
// then answer 202.
func (x *exchange[K, C]) applied(wait time.Duration) {
	switch {
	case x.prefer.HasWait:
		x.w.Header().Set("Preference-Applied", "wait="+prefer.Seconds(wait))
	case x.prefer.RespondAsync:
		x.w.Header().Set("Preference-Applied", "respond-async")
	}
}
