package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tidemill/tidemill/internal/token"
	"github.com/tidemill/tidemill/internal/webtest"
	"github.com/tidemill/tidemill/test/torture/history"
)

const (
	clientCount   = 12
	activeKeys    = 10
	writesPerKey  = 60
	attemptTime   = 5 * time.Second // bounds one request
	operationTime = 40 * time.Second
)

// clients write and read over HTTP, each operation under one Idempotency-Key until it is answered for good, and note everything.
type clients struct {
	commander, subscriptions string
	views                    []string
	began                    time.Time
	http                     *http.Client
	workers                  sync.WaitGroup

	mu         sync.Mutex
	random     *rand.Rand // guarded by mu, as all that follows
	keys       []*key
	operations []history.Operation
	odd        []string      // answers that nobody should get
	answered   time.Duration // when a write was last answered
	longest    time.Duration // from one answered write to the next
	longestAt  time.Duration
	reads      int
}

// key is a value that clients write to.
type key struct {
	id     string
	writes int
	token  string // of a write that was answered, the furthest
	place  history.Place
}

// newClients starts clients that go on until ctx is done.
func newClients(ctx context.Context, w *world, seed uint64) *clients {
	c := &clients{
		commander: w.commander.url, subscriptions: w.subscriptions.url, began: time.Now(), random: rand.New(rand.NewPCG(seed, 3)),
		http: &http.Client{Timeout: attemptTime, Transport: &http.Transport{MaxIdleConnsPerHost: 2 * clientCount}},
	}
	for _, view := range w.views {
		c.views = append(c.views, view.url)
	}
	for range activeKeys {
		c.keys = append(c.keys, c.newKey())
	}
	for range clientCount {
		c.workers.Go(func() {
			for ctx.Err() == nil {
				c.operate(ctx)
			}
		})
	}
	return c
}

// wait waits until no client works any more.
func (c *clients) wait() {
	c.workers.Wait()
	c.http.CloseIdleConnections()
}

func (c *clients) newKey() *key { return &key{id: c.uuid()} }

// uuid is a seeded one. The caller holds mu, or is alone.
func (c *clients) uuid() string {
	var id uuid.UUID
	for i := range id {
		id[i] = byte(c.random.Uint32())
	}
	return id.String()
}

// plan is what an operation will be.
type plan struct {
	key          *key
	read         bool
	view         string
	token        string
	place        history.Place
	method, path string
	body         string
	idempotency  string
	pause        time.Duration
	again        bool // whether its key is used for another body afterwards
	asynchronous bool
}

// next draws an operation.
func (c *clients) next() plan {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := c.random.IntN(len(c.keys))
	if c.keys[slot].writes >= writesPerKey {
		c.keys[slot] = c.newKey()
	}
	k := c.keys[slot]
	p := plan{key: k, token: k.token, place: k.place, pause: time.Duration(c.random.IntN(120)) * ms}
	dice := c.random.IntN(100)
	if dice < 30 && k.writes > 0 {
		p.read, p.view = true, c.views[c.random.IntN(len(c.views))]
		return p
	}
	p.idempotency, p.again, p.asynchronous = c.uuid(), c.random.IntN(25) == 0, c.random.IntN(12) == 0
	k.writes++
	switch {
	case k.writes == 1 || dice < 35:
		p.method, p.path, p.body = http.MethodPost, "/values", fmt.Sprintf(`{"value":%d,"value_id":%q}`, c.random.IntN(1_000_000), k.id)
	case dice < 75:
		p.method, p.path, p.body = http.MethodPut, "/values/"+k.id, fmt.Sprintf(`{"operation":"ADD","value":%d}`, 1+c.random.IntN(1_000_000))
	default:
		factor := []string{"-1", "2", "0.5", "3", "-0.25"}[c.random.IntN(5)]
		p.method, p.path, p.body = http.MethodPut, "/values/"+k.id, `{"operation":"MULTIPLY","value":`+factor+`}`
	}
	return p
}

// operate does one operation from beginning to end.
func (c *clients) operate(ctx context.Context) {
	p := c.next()
	if p.read {
		c.read(ctx, p)
	} else {
		o := c.write(ctx, p, "")
		if p.again && o.Status != 202 && len(o.Tokens) > 0 && ctx.Err() == nil {
			p.body = strings.NewReplacer(`"value":-`, `"value":1`, `"value":`, `"value":1`).Replace(p.body)
			c.write(ctx, p, o.CommandID)
		}
	}
	select {
	case <-time.After(p.pause):
	case <-ctx.Done():
	}
}

// answer is what a request was told.
type answer struct {
	status int
	header http.Header
	body   string
}

func (c *clients) ask(ctx context.Context, method, url, body string, headers ...string) (answer, error) {
	got, err := webtest.Ask(ctx, c.http, method, url, body, headers...)
	return answer{got.Status, got.Header, got.Body}, err
}

// read asks a view for a key, with the token of the last answered write.
func (c *clients) read(ctx context.Context, p plan) {
	o := history.Operation{Key: p.key.id, Read: true, Server: p.view, Called: time.Since(c.began)}
	headers := []string{"Prefer", "wait=3"}
	if p.token != "" {
		headers, o.Tokens = append(headers, "Tidemill-Token", p.token), []history.Place{p.place}
	}
	got, err := c.ask(ctx, http.MethodGet, p.view+"/values/"+p.key.id, "", headers...)
	o.Returned = time.Since(c.began)
	if err != nil {
		return
	}
	o.Status = got.status
	switch got.status {
	case http.StatusOK:
		o.Shown = shown(got.body)
	case http.StatusNotFound:
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		c.unavailable(got)
		return
	default:
		c.strange("GET", got)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads++
	c.operations = append(c.operations, o)
}

// shown is the value in an answer, nil if it has none.
func shown(body string) *float64 {
	var value struct {
		Value *float64 `json:"value"`
	}
	if json.Unmarshal([]byte(body), &value) != nil {
		return nil
	}
	return value.Value
}

// write sends a command until it is answered for good, or patience ends. It conflicts with a command, if one is named.
func (c *clients) write(ctx context.Context, p plan, conflicting string) history.Operation {
	o := history.Operation{Key: p.key.id, Conflicting: conflicting != "", CommandID: conflicting, Called: time.Since(c.began)}
	headers := []string{"Idempotency-Key", p.idempotency}
	if p.asynchronous {
		headers = append(headers, "Prefer", "respond-async")
	}
	// An operation under way when the campaign ends is finished: everything works again by then.
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), operationTime)
	defer cancel()
	for patient.Err() == nil {
		got, err := c.ask(patient, p.method, c.commander+p.path, p.body, headers...)
		o.Returned = time.Since(c.began)
		if err == nil && c.attempted(&o, got) {
			break
		}
		if o.Status == http.StatusAccepted && p.asynchronous {
			c.follow(patient, &o)
			break
		}
		select {
		case <-time.After(30 * ms):
		case <-patient.Done():
		}
	}
	c.note(o, p.key)
	return o
}

// attempted takes an answer in and tells whether it is the last one.
func (c *clients) attempted(o *history.Operation, got answer) bool {
	if id := got.header.Get("Tidemill-Command-Id"); id != "" {
		o.CommandID = id
	}
	if text := got.header.Get("Tidemill-Token"); text != "" {
		if place, err := token.Parse(text); err == nil {
			o.Tokens = append(o.Tokens, history.Place{Partition: place.Partition, Offset: place.Offset})
		}
	}
	switch got.status {
	case http.StatusOK, http.StatusCreated:
		o.Status, o.Shown = got.status, shown(got.body)
		return true
	case http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity:
		o.Status = got.status
		return true
	case http.StatusAccepted:
		o.Status = got.status
	case http.StatusServiceUnavailable:
		c.unavailable(got)
		if o.Status == 0 {
			o.Status = got.status
		}
	default:
		c.strange("a write", got)
	}
	return false
}

// follow asks the subscriptions what became of a command.
func (c *clients) follow(ctx context.Context, o *history.Operation) {
	got, err := c.ask(ctx, http.MethodGet, c.subscriptions+"/commands/"+o.CommandID, "", "Prefer", "wait=2")
	if err != nil || got.status != http.StatusOK {
		return
	}
	var told struct {
		Status string `json:"status"`
	}
	if json.Unmarshal([]byte(got.body), &told) == nil && told.Status != "pending" {
		o.Reported = told.Status
	}
}

// note keeps an operation, and its token for reads.
func (c *clients) note(o history.Operation, k *key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.operations = append(c.operations, o)
	if n := len(o.Tokens); n > 0 {
		if last := o.Tokens[n-1]; k.token == "" || last.Offset > k.place.Offset {
			k.place = last
			k.token = token.Token{Topic: "calculator-commands", Partition: last.Partition, Offset: last.Offset}.String()
		}
		if now := time.Since(c.began); now-c.answered > c.longest {
			c.longest, c.longestAt = now-c.answered, c.answered
		}
		c.answered = time.Since(c.began)
	}
}

// unavailable wants that a 503 says when to come again.
func (c *clients) unavailable(got answer) {
	if got.status == http.StatusServiceUnavailable && got.header.Get("Retry-After") == "" {
		c.strange("unavailable without Retry-After", got)
	}
}

func (c *clients) strange(what string, got answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.odd = append(c.odd, fmt.Sprintf("%s was answered %d, %.300s", what, got.status, got.body))
}

// counts tells how many writes were answered and reads made.
func (c *clients) counts() (writes, reads int, longest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.operations) - c.reads, c.reads, c.longest
}
