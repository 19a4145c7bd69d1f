package graph

import (
	"bytes"
	"encoding/json"
)

// The document of JSON. Fields are only ever added.
type (
	jsonGraph struct {
		Application     string    `json:"application"`
		DeadLetterTopic string    `json:"deadLetterTopic"`
		SubTopologies   []jsonSub `json:"subTopologies"`
	}
	jsonSub struct {
		Name   string      `json:"name"`
		Group  string      `json:"group"`
		Nodes  []jsonNode  `json:"nodes"`
		Stores []jsonStore `json:"stores,omitempty"`
	}
	jsonNode struct {
		ID       int        `json:"id"`
		Name     string     `json:"name"`
		Operator string     `json:"operator"`
		Kind     Kind       `json:"kind"`
		Topic    *jsonTopic `json:"topic,omitempty"`
		Dynamic  bool       `json:"dynamicTopic,omitempty"`
		Stores   []string   `json:"stores,omitempty"`
		Children []int      `json:"children,omitempty"`
	}
	jsonTopic struct {
		Name        string `json:"name"`
		Key         string `json:"key"`
		Value       string `json:"value"`
		Partitions  int32  `json:"partitions,omitempty"`
		Internal    bool   `json:"internal,omitempty"`
		RetentionMS int64  `json:"retentionMs,omitempty"`
		KeyPart     bool   `json:"partitionedByKeyPart,omitempty"`
	}
	jsonStore struct {
		Name               string `json:"name"`
		Types              string `json:"types"`
		Changelog          string `json:"changelog"`
		MinCompactionLagMS int64  `json:"minCompactionLagMs,omitempty"`
	}
)

// JSON describes the graph as an indented JSON document. Retention below zero is for ever.
func (g *Graph) JSON() string {
	v := newView(g)
	document := jsonGraph{Application: g.Application, DeadLetterTopic: g.DeadLetterTopic(), SubTopologies: []jsonSub{}}
	for _, sub := range g.SubTopologies {
		s := jsonSub{Name: sub.Name, Group: sub.Group, Nodes: []jsonNode{}}
		for _, node := range v.nodes(sub) {
			s.Nodes = append(s.Nodes, v.jsonNode(node))
		}
		for _, store := range sub.Stores {
			s.Stores = append(s.Stores, jsonStore{
				Name: store.Name, Types: store.Type, Changelog: store.Changelog, MinCompactionLagMS: store.MinCompactionLag.Milliseconds(),
			})
		}
		document.SubTopologies = append(document.SubTopologies, s)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(document); err != nil {
		return "{}\n" // strings and numbers always encode
	}
	return out.String()
}

func (v *view) jsonNode(node *Node) jsonNode {
	n := jsonNode{ID: v.number[node], Name: node.Name, Operator: node.Operator, Kind: node.Kind, Dynamic: node.Dynamic}
	for _, child := range v.children(node) {
		n.Children = append(n.Children, v.number[child])
	}
	for _, store := range node.Stores {
		n.Stores = append(n.Stores, store.Name)
	}
	if topic := node.Topic; topic != nil {
		retention := topic.Retention.Milliseconds()
		if topic.Retention < 0 {
			retention = -1
		}
		n.Topic = &jsonTopic{
			Name: topic.Name, Key: topic.KeyType.String(), Value: topic.ValueType.String(),
			Partitions: topic.Partitions, Internal: topic.Internal, RetentionMS: retention,
			KeyPart: topic.Partitioner != nil,
		}
	}
	return n
}
