package store

import "bytes"

// treeNode is the root of a treap (Seidel and Aragon, "Randomized Search Trees", 1996): ordered by key, a heap by a
// priority that is a hash of the key, and therefore of logarithmic depth. A nil node is the empty tree. Nodes of
// earlier editions are immutable and are copied before a change; those of the current edition belong to the write in
// progress alone and are changed in place.
type treeNode struct {
	key, value  []byte
	left, right *treeNode
	edition     uint64
	priority    uint32
}

// newTreeNode returns a single node with copies of key and value.
func newTreeNode(key, value []byte, edition uint64) *treeNode {
	row := make([]byte, len(key)+len(value))
	copy(row, key)
	copy(row[len(key):], value)
	return &treeNode{key: row[:len(key):len(key)], value: row[len(key):], edition: edition, priority: priorityOf(key)}
}

// priorityOf is FNV-1a followed by the finaliser of MurmurHash3: the same key always has the same priority, so the
// shape of a tree depends only on its content.
func priorityOf(key []byte) uint32 {
	hash := uint32(2166136261)
	for _, b := range key {
		hash = (hash ^ uint32(b)) * 16777619
	}
	hash = (hash ^ hash>>16) * 0x85ebca6b
	hash = (hash ^ hash>>13) * 0xc2b2ae35
	return hash ^ hash>>16
}

// child returns the left or the right subtree.
func (n *treeNode) child(left bool) *treeNode {
	if left {
		return n.left
	}
	return n.right
}

// find returns the node of a key, or nil.
func (n *treeNode) find(key []byte) *treeNode {
	for n != nil {
		switch order := bytes.Compare(key, n.key); {
		case order < 0:
			n = n.left
		case order > 0:
			n = n.right
		default:
			return n
		}
	}
	return nil
}

// mutable returns the node itself if it is of the given edition, else a copy of it that is.
func (n *treeNode) mutable(edition uint64) *treeNode {
	if n.edition == edition {
		return n
	}
	clone := *n
	clone.edition = edition
	return &clone
}

// insert returns the tree with a node added, or put in the place of the one with its key.
func (n *treeNode) insert(node *treeNode) *treeNode {
	if n == nil {
		return node
	}
	order := bytes.Compare(node.key, n.key)
	if order == 0 {
		node.left, node.right = n.left, n.right
		return node
	}
	n = n.mutable(node.edition)
	if order < 0 {
		n.left = n.left.insert(node)
		if left := n.left; left.priority > n.priority {
			n.left, left.right = left.right, n
			return left
		}
		return n
	}
	n.right = n.right.insert(node)
	if right := n.right; right.priority > n.priority {
		n.right, right.left = right.left, n
		return right
	}
	return n
}

// remove returns the tree without a key that is in it.
func (n *treeNode) remove(key []byte, edition uint64) *treeNode {
	order := bytes.Compare(key, n.key)
	if order == 0 {
		return joinTrees(n.left, n.right, edition)
	}
	n = n.mutable(edition)
	if order < 0 {
		n.left = n.left.remove(key, edition)
	} else {
		n.right = n.right.remove(key, edition)
	}
	return n
}

// joinTrees returns the union of two trees, every key of the first below every key of the second.
func joinTrees(lower, upper *treeNode, edition uint64) *treeNode {
	switch {
	case lower == nil:
		return upper
	case upper == nil:
		return lower
	case lower.priority > upper.priority:
		lower = lower.mutable(edition)
		lower.right = joinTrees(lower.right, upper, edition)
		return lower
	}
	upper = upper.mutable(edition)
	upper.left = joinTrees(lower, upper.left, edition)
	return upper
}
