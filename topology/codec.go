package topology

import (
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// codec is short for signatures inside this package.
type codec[T any] = codecs.Codec[T]

// needsCodec notes that a codec is missing, and what names one, or what is wrong with it.
func needsCodec[T any](b *Builder, node *graph.Node, given codec[T], what, remedy string) {
	if given == nil {
		b.problem(node, "the %s (%s) has no codec; %s", what, typeName[T](), remedy)
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
