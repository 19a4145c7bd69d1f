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
// Semantics are those of Kafka Streams unless an operator says otherwise; docs/dsl.md lists where and why. One difference
// holds everywhere: Go's values have no null. A record whose value is Kafka's null (a tombstone) has nothing for a user's
// function to look at: operators that keep the key let it pass, those that make a new key from the value drop it,
// aggregations skip it as there, ToTable deletes the row and To writes a tombstone. A record whose key is null shows
// functions the zero key and is skipped by whatever needs a key.
//
// A function of the user is called from one goroutine per task and must not keep or change what it was given unless it
// says so. One that panics sends its record to the dead-letter topic under the operator's name; Process takes functions
// that return errors.
package topology

import (
	"errors"
	"fmt"
	"slices"
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
	handles     map[StoreHandle]*graph.Store
	names       map[string]int
	problems    []string

	// built is set by the first Build: from then on nothing is connected any more, since tasks may be running.
	built    bool
	topology *Topology
	invalid  []error
	late     []string
}

// New returns a Builder. The application's name is the prefix of its consumer groups, changelogs and internal topics; it is
// made of letters, digits, '.', '_' and '-', as Kafka's topic names are.
func New(application string) *Builder {
	b := &Builder{
		application: application, stores: map[string]*graph.Store{}, handles: map[StoreHandle]*graph.Store{}, names: map[string]int{},
	}
	if err := checkName(application); err != nil {
		b.problems = append(b.problems, fmt.Sprintf("application %q: %v", application, err))
	}
	return b
}

// maxName leaves room for "-changelog" and the application's name within Kafka's 249.
const maxName = 110

// checkName tells what is wrong with a name that becomes part of a topic's name.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a name is missing")
	case name == "." || name == "..":
		return fmt.Errorf("the name must not be %q", name)
	case len(name) > maxName:
		return fmt.Errorf("the name has %d characters, at most %d are allowed", len(name), maxName)
	}
	return checkCharacters(name)
}

func checkCharacters(name string) error {
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
	plain := label
	b.names[label]++
	if n := b.names[label]; n > 1 {
		label = fmt.Sprintf("%s#%d", label, n)
	}
	node := &graph.Node{ID: len(b.nodes), Name: label, Label: plain, Kind: kind, Operator: operator}
	if b.built {
		b.late = append(b.late, label+": added after Build; define every operator before it")
		return node
	}
	for _, parent := range parents {
		if parent.ID >= len(b.nodes) || b.nodes[parent.ID] != parent {
			b.problem(node, "its input %q belongs to another Builder; an operator's streams and tables all come from one", parent.Name)
			continue
		}
		node.Parents = append(node.Parents, parent)
		parent.Children = append(parent.Children, node)
	}
	b.nodes = append(b.nodes, node)
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
	b.reserve(node, name, store)
	return store
}

// reserve notes that a store's name is taken.
func (b *Builder) reserve(node *graph.Node, name string, store *graph.Store) {
	if _, taken := b.stores[name]; taken {
		b.problem(node, "store %q is defined twice; give one of them another name", name)
		return
	}
	b.stores[name] = store
}

// problem notes what is wrong with a node, for Build.
func (b *Builder) problem(node *graph.Node, format string, args ...any) {
	problem := fmt.Sprintf(format, args...)
	if !slices.Contains(node.Problems, problem) {
		node.Problems = append(node.Problems, problem)
	}
}

// needs notes that a function is missing.
func (b *Builder) needs(node *graph.Node, given bool, what string) {
	if !given {
		b.problem(node, "%s is nil", what)
	}
}

// needsKey notes that the codec of a key is missing or faulty.
func needsKey[K any](b *Builder, node *graph.Node, codec codec[K]) {
	needsCodec(b, node, codec, "key", "name one with WithKey (or in GroupBy) before this operator")
}

// needsValue notes that the codec of a value is missing or faulty.
func needsValue[V any](b *Builder, node *graph.Node, codec codec[V]) {
	needsCodec(b, node, codec, "value", "name one with WithValue before this operator")
}
