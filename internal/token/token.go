// Package token holds the read-your-writes token: the place of a command in the log.
//
// A token is what a client carries from a command's answer to a query, so that the query never answers from a state
// older than that command's effect. It names the command's topic, partition and offset and nothing else: where the
// effect landed is found out by the reading side (docs/DESIGN.md, "Tokens").
package token

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ErrMalformed says that a string is not a token.
var ErrMalformed = errors.New("malformed position token")

const (
	version   = "1"
	maxLength = 1024 // of the text; Kafka's topic names end at 249 bytes
)

// Token is the place of one command: it was written to Topic, Partition at Offset.
type Token struct {
	Topic     string
	Partition int32
	Offset    int64
}

// String returns the token's text: base64url without padding of "1:<partition>:<offset>:<topic>".
func (t Token) String() string {
	text := version + ":" + strconv.FormatInt(int64(t.Partition), 10) + ":" + strconv.FormatInt(t.Offset, 10) + ":" + t.Topic
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

// Parse reads what String wrote. The error wraps ErrMalformed.
func Parse(text string) (Token, error) {
	if text == "" || len(text) > maxLength {
		return Token{}, fmt.Errorf("%w: %d characters long, want 1 to %d", ErrMalformed, len(text), maxLength)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return Token{}, fmt.Errorf("%w: not base64url", ErrMalformed)
	}
	parts := strings.SplitN(string(raw), ":", 4)
	if len(parts) != 4 || parts[0] != version || parts[3] == "" {
		return Token{}, fmt.Errorf("%w: want version %s, partition, offset and topic", ErrMalformed, version)
	}
	partition, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil || partition < 0 {
		return Token{}, fmt.Errorf("%w: partition %q", ErrMalformed, parts[1])
	}
	offset, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || offset < 0 || offset == math.MaxInt64 { // no record stands there: the offset after it could not be told
		return Token{}, fmt.Errorf("%w: offset %q", ErrMalformed, parts[2])
	}
	parsed := Token{Topic: parts[3], Partition: int32(partition), Offset: offset}
	if parsed.String() != text {
		return Token{}, fmt.Errorf("%w: not in canonical form", ErrMalformed)
	}
	return parsed, nil
}
