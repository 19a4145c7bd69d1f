package topology

import (
	"github.com/tidemill/tidemill/internal/graph"
)

// handler takes one typed record through the rest of the pipeline. The record's time, headers and nulls are in the context.
type handler[K, V any] func(ctx *graph.Context, key K, value V) error

// port is the typed output of a node: who takes its records. On a port of changes the context's null flags are false.
type port[K, V any] struct {
	builder  *Builder
	node     *graph.Node
	children []func(*graph.Context) (handler[K, V], error)
}

func newPort[K, V any](b *Builder, node *graph.Node) *port[K, V] {
	return &port[K, V]{builder: b, node: node}
}

// attach adds a child. assemble is called once for each task that the port's node runs in. Nothing is attached after Build:
// tasks may be running.
func (p *port[K, V]) attach(assemble func(*graph.Context) (handler[K, V], error)) {
	if !p.builder.built {
		p.children = append(p.children, assemble)
	}
}

// observed tells whether anything follows.
func (p *port[K, V]) observed() bool { return len(p.children) > 0 }

// start returns the task's handler of the port: it hands a record to each child in the order of their definition.
func (p *port[K, V]) start(ctx *graph.Context) (handler[K, V], error) {
	return graph.Instance(ctx, p, func() (handler[K, V], error) {
		handlers := make([]handler[K, V], 0, len(p.children))
		for _, assemble := range p.children {
			h, err := assemble(ctx)
			if err != nil {
				return nil, err
			}
			handlers = append(handlers, h)
		}
		switch len(handlers) {
		case 0:
			return func(*graph.Context, K, V) error { return nil }, nil
		case 1:
			return handlers[0], nil
		}
		return func(ctx *graph.Context, key K, value V) error {
			for _, h := range handlers {
				if err := h(ctx, key, value); err != nil {
					return err
				}
			}
			return nil
		}, nil
	})
}

// stateless adds a node without state behind a port. assemble gets the handler of what follows.
func stateless[K, V, L, W any](from *port[K, V], operator string, assemble func(node *graph.Node, next handler[L, W]) handler[K, V]) *port[L, W] {
	node := from.builder.node(graph.Stateless, operator, "", from.node)
	out := newPort[L, W](from.builder, node)
	from.attach(func(ctx *graph.Context) (handler[K, V], error) {
		next, err := out.start(ctx)
		if err != nil {
			return nil, err
		}
		return assemble(node, next), nil
	})
	return out
}

// processError is the error of a user's function.
func processError(node *graph.Node, err error) error {
	return &graph.RecordError{Cause: graph.CauseProcess, Node: node.Name, Err: err}
}

// invalidError says that a record is in the wrong place.
func invalidError(node *graph.Node, err error) error {
	return &graph.RecordError{Cause: graph.CauseInvalid, Node: node.Name, Err: err}
}

// encodeError says that an output cannot be written.
func encodeError(node *graph.Node, err error) error {
	return &graph.RecordError{Cause: graph.CauseEncode, Node: node.Name, Err: err}
}
