// Package topology describes a stream-processing system: typed streams, tables and deciders, in the style of Kafka
// Streams. It holds no Kafka, goroutine or clock.
//
// A Builder collects operators; Build checks them all and returns an immutable Topology, which package processors runs,
// package views reads tables of, and package topologytest drives without a broker.
//
//	b := topology.New("calculator")
//	decided := b.From(commands).Decide("values", calculator)
//	decided.Events.To(events)
//	decided.Rejections.To(rejections)
//	calculator, err := b.Build()
//
// Semantics are those of Kafka Streams unless an operator says otherwise. One difference holds everywhere: Go's values
// have no null, so a record whose value is Kafka's null (a tombstone) passes stateless operators untouched, is skipped by
// aggregations and joins as there, deletes in ToTable and is written as a tombstone by To. A record without a key is
// skipped by whatever needs one.
package topology

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/internal/graph"
)

// ErrInvalid is wrapped by the error of Build: the topology cannot run as described.
var ErrInvalid = errors.New("invalid topology")

// Builder collects the operators of one application. It is not safe for concurrent use.
type Builder struct {
	application string
	nodes       []*graph.Node
	stores      map[string]*graph.Store
	names       map[string]int
	problems    []string
	built       bool
}

// New returns a Builder. The application's name is the prefix of its consumer groups, changelogs and internal topics; it is
// made of letters, digits, '.', '_' and '-', as Kafka's topic names are.
func New(application string) *Builder {
	b := &Builder{application: application, stores: map[string]*graph.Store{}, names: map[string]int{}}
	if err := checkName(application); err != nil {
		b.problems = append(b.problems, fmt.Sprintf("application %q: %v", application, err))
	}
	return b
}

// maxName leaves room for "-changelog" and the application's name within Kafka's 249.
const maxName = 120

// checkName tells what is wrong with a name that becomes part of a topic's name.
func checkName(name string) error {
	if name == "" {
		return errors.New("a name is missing")
	}
	if len(name) > maxName {
		return fmt.Errorf("the name has %d characters, at most %d are allowed", len(name), maxName)
	}
	for _, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && !strings.ContainsRune("._-", r) {
			return fmt.Errorf("the name contains %q; letters, digits, '.', '_' and '-' are allowed", r)
		}
	}
	return nil
}

// node adds a node. Its name is the operator's, numbered when used again: it appears in descriptions and errors only.
func (b *Builder) node(kind graph.Kind, operator, name string, parents ...*graph.Node) *graph.Node {
	label := operator
	if name != "" {
		label = operator + " " + name
	}
	b.names[label]++
	if n := b.names[label]; n > 1 {
		label = fmt.Sprintf("%s#%d", label, n)
	}
	node := &graph.Node{ID: len(b.nodes), Name: label, Kind: kind, Operator: operator, Parents: parents}
	for _, parent := range parents {
		parent.Children = append(parent.Children, node)
	}
	b.nodes = append(b.nodes, node)
	if b.built {
		node.Problems = append(node.Problems, "added after Build; define every operator before it")
	}
	return node
}

// store adds a store under a mandatory, unique name and attaches it to a node.
func (b *Builder) store(node *graph.Node, name, types string) *graph.Store {
	store := &graph.Store{Name: name, Changelog: graph.ChangelogTopic(b.application, name), Type: types}
	node.Stores = append(node.Stores, store)
	if err := checkName(name); err != nil {
		b.problem(node, "its store: %v: state is found again by its name, so give it one that stays", err)
		return store
	}
	if _, taken := b.stores[name]; taken {
		b.problem(node, "store %q is defined twice; give one of them another name", name)
		return store
	}
	b.stores[name] = store
	return store
}

// problem notes what is wrong with a node, for Build.
func (b *Builder) problem(node *graph.Node, format string, args ...any) {
	node.Problems = append(node.Problems, fmt.Sprintf(format, args...))
}
