package topology

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// codec is short for signatures inside this package.
type codec[T any] = codecs.Codec[T]

// needsCodec notes that a codec is missing, and what names one, or what is wrong with it.
func needsCodec[T any](b *Builder, node *graph.Node, given codec[T], what, remedy string) {
	if given == nil {
		prefix := fmt.Sprintf("the %s (%s) has no codec", what, typeName[T]())
		if slices.ContainsFunc(node.Problems, func(known string) bool { return strings.HasPrefix(known, prefix) }) {
			return
		}
		b.problem(node, "%s; %s", prefix, remedy)
		return
	}
	if err := codecs.Check(given); err != nil {
		b.problem(node, "%s codec: %v", what, err)
	}
}

// kept returns a stream's codec if the type is still the same, else nil.
func kept[T, U any](known codec[T]) codec[U] {
	same, _ := any(known).(codec[U])
	return same
}
