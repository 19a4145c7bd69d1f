package commands

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json/jsontext"
	"errors"
	"hash"
	"net/http"
	"strings"
	"sync"

	"github.com/google/uuid"
)

// maxKeyLength bounds an idempotency key, in characters.
const maxKeyLength = 255

// keyHeader is the header of draft-ietf-httpapi-idempotency-key-header.
const keyHeader = "Idempotency-Key"

// idempotencyKey returns a request's key, or "" if it has none. The draft has it as a string in quotes (RFC 9651);
// many clients send it bare, which is taken as it is.
func idempotencyKey(header http.Header) (string, error) {
	values := header.Values(keyHeader)
	switch len(values) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", errors.New("there is more than one " + keyHeader + " header")
	}
	key, err := unquoteKey(strings.Trim(values[0], " \t"))
	switch {
	case err != nil:
		return "", err
	case key == "":
		return "", errors.New("the " + keyHeader + " is empty; leave the header out or send a unique value, such as a UUID")
	case len(key) > maxKeyLength:
		return "", errors.New("the " + keyHeader + " is longer than 255 characters")
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return "", errors.New("the " + keyHeader + " has characters other than printable ASCII")
		}
	}
	return key, nil
}

func unquoteKey(text string) (string, error) {
	if !strings.HasPrefix(text, `"`) {
		if strings.ContainsAny(text, `" ,;`) {
			return "", errors.New("the " + keyHeader + ` is neither a string in quotes nor a single word`)
		}
		return text, nil
	}
	var key strings.Builder
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			if i++; i >= len(text) || text[i] != '"' && text[i] != '\\' {
				return "", errors.New("the " + keyHeader + ` has a backslash that escapes neither a quote nor a backslash`)
			}
			key.WriteByte(text[i])
		case '"':
			if i != len(text)-1 {
				return "", errors.New("the " + keyHeader + " goes on after its closing quote")
			}
			return key.String(), nil
		default:
			key.WriteByte(text[i])
		}
	}
	return "", errors.New("the " + keyHeader + " lacks its closing quote")
}

// deriver makes ids that depend on nothing but what they are made of.
type deriver struct{ namespace uuid.UUID }

// newDeriver gives an application a namespace of its own.
func newDeriver(application string) deriver {
	return deriver{namespace: uuid.NewHash(sha256.New(), uuid.NameSpaceURL, []byte("tidemill:"+application), 8)}
}

var hashes = sync.Pool{New: func() any { return sha256.New() }}

// id returns a UUID of version 8 made as RFC 9562, appendix B.2, makes one of a name: a SHA-256 over namespace and
// parts, each with its length in front so that no two lists of parts are alike.
func (d deriver) id(parts ...string) string {
	var name []byte
	for _, part := range parts {
		name = binary.AppendUvarint(name, uint64(len(part)))
		name = append(name, part...)
	}
	h, ok := hashes.Get().(hash.Hash)
	if !ok {
		h = sha256.New()
	}
	defer hashes.Put(h)
	return uuid.NewHash(h, d.namespace, name, 8).String()
}

// command returns the id of the command that a principal asks for under a key.
func (d deriver) command(principal Principal, method, path, key string) string {
	return d.id("command", principal.Issuer, principal.ID, method, path, key)
}

// chosen returns an id that the server chooses on behalf of a command.
func (d deriver) chosen(command, name string) string { return d.id("chosen", command, name) }

// fingerprint tells two requests under one key apart: eight bytes over what was asked for, and not when. Members in
// another order and other white space ask for the same; numbers count as they are written, since not every one fits a
// float.
func fingerprint(method, path string, body []byte) []byte {
	canonical := jsontext.Value(append([]byte(nil), body...))
	if len(canonical) > 0 {
		// The body was read as JSON before, so that this cannot fail; if it did, the bytes would do.
		_ = canonical.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false))
	}
	h := sha256.New()
	var size [binary.MaxVarintLen64]byte
	for _, part := range [][]byte{[]byte(method), []byte(path), canonical} {
		h.Write(size[:binary.PutUvarint(size[:], uint64(len(part)))])
		h.Write(part)
	}
	return h.Sum(nil)[:8]
}

// memory remembers the fingerprints of the last so many keyed commands that passed here.
type memory struct {
	mu    sync.Mutex
	known map[string][8]byte
	order []string // ring
	next  int
	limit int
}

func newMemory(limit int) *memory { return &memory{known: map[string][8]byte{}, limit: limit} }

// conflicts reports whether the id is known under another fingerprint.
func (m *memory) conflicts(id string, fingerprint []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.known[id]
	return ok && known != [8]byte(fingerprint)
}

// remember keeps the first fingerprint of an id whose command is in the log.
func (m *memory) remember(id string, fingerprint []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.known[id]; ok {
		return
	}
	if len(m.order) < m.limit {
		m.order = append(m.order, id)
	} else {
		delete(m.known, m.order[m.next])
		m.order[m.next] = id
		m.next = (m.next + 1) % m.limit
	}
	m.known[id] = [8]byte(fingerprint)
}
