package views

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json/jsontext"
	json "encoding/json/v2"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/codecs"
)

// What the zero values of HTTP stand for.
const (
	DefaultWait    = 2 * time.Second
	DefaultMaxWait = 30 * time.Second
	DefaultLimit   = 100
	DefaultMaxRows = 1000
)

// maxPageBytes ends a page before its limit, so that large rows cannot make an answer of any size.
const maxPageBytes = 4 << 20

// HTTP says how a view's Handler speaks. The zero value serves at the root and renders rows as {"key":…,"value":…}.
type HTTP[K, V any] struct {
	// Path is what the resource's path begins with, such as "/values": rows are at "/values", one at "/values/{key}".
	Path string
	// ParseKey reads a key from a path or a query. Nil works for strings, integers, encoding.TextUnmarshalers and for codecs
	// that are a codecs.KeyParser: a row's key is "{path}/alice/cheap/1700000000000/order-1".
	ParseKey func(text string) (K, error)
	// ParsePrefix gives the encoded bytes that a prefix of a key's text stands for. Nil takes the text's own bytes, which
	// is right for keys encoded as their text; for a codecs.KeyParser it takes the text of a key's first parts: "alice/cheap".
	ParsePrefix func(text string) ([]byte, error)
	// Render appends a row as JSON to dst: the body of one key's answer, and an item of a list. Nil renders key and value.
	Render func(dst []byte, key K, value V) ([]byte, error)
	// Wait is how long a query waits for its token when it does not say; 0 means DefaultWait.
	Wait time.Duration
	// MaxWait bounds what a query may ask for; 0 means DefaultMaxWait.
	MaxWait time.Duration
	// Limit is how many rows an answer has when the query does not say; 0 means DefaultLimit.
	Limit int
	// MaxRows bounds what a query may ask for; 0 means DefaultMaxRows.
	MaxRows int
	// RenderDeleted appends what a stream of changes tells of a deleted row as JSON to dst; nil renders {"key":…}.
	RenderDeleted func(dst []byte, key K) ([]byte, error)
	// MaxWatches bounds the open streams of changes; more are answered 503. 0 means DefaultMaxWatches. In a shared view a stream of rows on
	// several partitions counts as often as there are partitions.
	MaxWatches int
	// Heartbeat is how often an idle stream is written to; 0 means DefaultHeartbeat.
	Heartbeat time.Duration
	// WriteTimeout is how long a client may take for one piece of a stream, 32 KiB at most; 0 means DefaultWriteTimeout.
	WriteTimeout time.Duration
}

// handler serves a view.
type handler[K, V any] struct {
	HTTP[K, V]
	view    *View[K, V]
	watches atomic.Int64 // open streams
}

// Handler returns the view's HTTP resource, to be mounted at its path and below:
//
//	mux.Handle("/values", handler)
//	mux.Handle("/values/", handler)
//
// It serves GET and HEAD:
//
//	{path}/{key}                     one row, or 404
//	{path}?key=K                     the same, for keys that no path can carry
//	{path}                           {"items":[…],"next":"…"}; next is there when more rows follow
//	{path}?prefix=P                  rows whose keys begin with P
//	{path}?from=A&to=B               rows with A <= key < B; either may be left out; within prefix, where that is given
//	{path}?…&order=desc&limit=N      highest key first; at most N rows
//	{path}?…&cursor=C                the page after the one whose next was C
//	{path}?…&count                   {"count":N} instead of the rows
//
// A GET whose Accept header has text/event-stream is answered with a stream of server-sent events, for one key, a prefix or
// all rows, which begins with the rows as they are:
//
//	event: row       data: the row as Render renders it: present, or changed
//	event: deleted   data: {"key":…}, or what RenderDeleted renders
//	event: ready     data: {}: what was told are the rows as they were together just now; changes follow
//	event: reset     data: {}: what was told counts no longer; the rows as they are follow
//
// The parameter partition restricts a stream to the rows of one partition. In a shared view a stream of a key, of a prefix
// that holds all of what decides a key's partition, or of one partition comes from one instance; others are merged of all partitions',
// with ready once all rows have been told, and ids that are places in all of them.
//
// Events have ids. A client that comes back with the header Last-Event-ID, or the parameter last-event-id, gets the changes
// since and then ready, at this instance or another one, before or after a restart; or reset, when the changes since are
// not known any more. Comments come as heartbeats. A slow client gets the latest of each row; one that takes nothing for
// WriteTimeout is cut off. Over HTTP/1.1 a stream takes its connection over from the server: it ends with the view or
// EndWatches, and http.Server.Shutdown does not wait for it.
//
// Parameters that it does not know are refused, so that a misspelt one does not go unnoticed.
//
// Answers carry a strong ETag, a hash of the body: a request whose If-None-Match has it gets 304. The header
// Tidemill-Position says which changelog positions the answer is not older than, as "partition:offset", for rows as a list
// "0:17,1:9"; Tidemill-Lag says how many offsets that was behind the changelog when last looked at.
//
// A request with a position token, in the header Tidemill-Token or the parameter token, is answered from a state that has
// the effect of the token's command. It waits for it as long as "Prefer: wait=N" says (seconds, with a fraction if need
// be, up to MaxWait), else Wait, and is answered 504 when that was not enough.
//
// A request with the header Tidemill-Max-Staleness, or the parameter max_staleness, is answered from a state that is not older
// than that, against what has happened; it waits likewise, and is answered 503. Tidemill-Staleness in its answer says how old it was.
//
// Errors are application/problem+json: 400 for a query that makes no sense, 404, 405, 503 with Retry-After while the view
// is not restored or the log cannot be reached, 504.
//
// The error wraps ErrConfig and says what in the configuration cannot be used.
func (v *View[K, V]) Handler(config HTTP[K, V]) (http.Handler, error) {
	var problems []error
	if config.Path != "" && (!strings.HasPrefix(config.Path, "/") || strings.HasSuffix(config.Path, "/")) {
		problems = append(problems, fmt.Errorf("the path %q must begin with a slash and not end with one", config.Path))
	}
	if config.Wait < 0 || config.MaxWait < 0 || config.Limit < 0 || config.MaxRows < 0 || config.MaxWatches < 0 || config.Heartbeat < 0 || config.WriteTimeout < 0 {
		problems = append(problems, errors.New("none of Wait, MaxWait, Limit, MaxRows, MaxWatches, Heartbeat and WriteTimeout may be negative"))
	}
	if config.ParseKey == nil {
		if config.ParseKey = v.keyParser(); config.ParseKey == nil {
			problems = append(problems, fmt.Errorf("keys of type %v cannot be read from a path without ParseKey", reflect.TypeFor[K]()))
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("%w: the HTTP resource of view %s: %w", ErrConfig, v.name, errors.Join(problems...))
	}
	if config.ParsePrefix == nil {
		config.ParsePrefix = v.prefixParser()
	}
	if config.Render == nil {
		config.Render = renderRow[K, V]
	}
	if config.RenderDeleted == nil {
		config.RenderDeleted = renderDeleted[K]
	}
	config.MaxWatches = cmp.Or(config.MaxWatches, DefaultMaxWatches)
	config.Heartbeat = cmp.Or(config.Heartbeat, DefaultHeartbeat)
	config.WriteTimeout = cmp.Or(config.WriteTimeout, DefaultWriteTimeout)
	config.MaxWait = cmp.Or(config.MaxWait, DefaultMaxWait)
	config.Wait = min(cmp.Or(config.Wait, DefaultWait), config.MaxWait)
	config.MaxRows = cmp.Or(config.MaxRows, DefaultMaxRows)
	config.Limit = min(cmp.Or(config.Limit, DefaultLimit), config.MaxRows)
	if h := (&handler[K, V]{HTTP: config, view: v}); v.sharing == nil {
		return h, nil
	} else {
		return &sharedHandler[K, V]{handler: h, sharing: v.sharing}, nil
	}
}

// keyParser returns how a key is read from text when its codec or its type says so, or nil.
func (v *View[K, V]) keyParser() func(string) (K, error) {
	parser, ok := v.keys.(codecs.KeyParser)
	if !ok {
		return keyParser[K]()
	}
	return func(text string) (key K, err error) {
		encoded, whole, err := parser.AppendKeyText(nil, text)
		if err == nil && !whole {
			err = errors.New("it has too few parts")
		}
		if err != nil {
			return key, err
		}
		return v.keys.Decode(encoded)
	}
}

// prefixParser returns what the text of a prefix stands for: its own bytes, unless the codec knows better.
func (v *View[K, V]) prefixParser() func(string) ([]byte, error) {
	parser, ok := v.keys.(codecs.KeyParser)
	if !ok {
		return func(text string) ([]byte, error) { return []byte(text), nil }
	}
	return func(text string) ([]byte, error) {
		encoded, _, err := parser.AppendKeyText(nil, text)
		return encoded, err
	}
}

// keyParser returns how a key is read from text when its type says so, or nil.
func keyParser[K any]() func(string) (K, error) {
	if _, ok := any(new(K)).(encoding.TextUnmarshaler); ok {
		return func(text string) (key K, err error) {
			return key, any(&key).(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
		}
	}
	kind := reflect.TypeFor[K]()
	switch kind.Kind() {
	case reflect.String:
		if kind == reflect.TypeFor[string]() {
			return func(text string) (K, error) { return any(text).(K), nil }
		}
		return func(text string) (key K, err error) {
			reflect.ValueOf(&key).Elem().SetString(text)
			return key, nil
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(text string) (key K, err error) {
			number, err := strconv.ParseInt(text, 10, kind.Bits())
			if err != nil {
				return key, fmt.Errorf("%q is no whole number of %d bits", text, kind.Bits())
			}
			reflect.ValueOf(&key).Elem().SetInt(number)
			return key, nil
		}
	}
	return nil
}

// renderRow appends {"key":…,"value":…}.
func renderRow[K, V any](dst []byte, key K, value V) ([]byte, error) {
	buffer := bytes.NewBuffer(dst)
	encoder := jsontext.NewEncoder(buffer)
	// The encoder ends each top-level value with a newline.
	err := json.MarshalEncode(encoder, struct {
		Key   K `json:"key"`
		Value V `json:"value"`
	}{key, value})
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), err
}
