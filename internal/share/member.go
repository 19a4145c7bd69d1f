// Package share decides which instance holds which partitions of a view that is shared out, as pure functions: what
// each member of a group says of itself goes in, one map of all partitions comes out. The leader of the group computes
// it, and every member gets all of it, so that each can tell where any key is.
//
// The forms of both on the wire are described in docs/format/sharing.md. Who talks to the group is package membership.
package share

import (
	json "encoding/json/v2"
	"errors"
	"fmt"
	"slices"
)

// ProtocolType and Protocol name what members of such a group agree on. A change of the wire's forms that an older member
// would misread gets another Protocol, and members offer both for as long as both are in use.
const (
	ProtocolType = "tidemill-view"
	Protocol     = "tidemill-view-1"
)

// ErrMalformed says that bytes are no encoding of a member or a map.
var ErrMalformed = errors.New("malformed sharing data")

// maxPartitions bounds what is believed of a number of partitions.
const maxPartitions = 1 << 20

// Member is what an instance says of itself when it joins.
type Member struct {
	// ID is the member id that the group's coordinator gave. It is not part of the encoding.
	ID string `json:"-"`
	// Instance names the instance over restarts; no two members have the same.
	Instance string `json:"instance"`
	// URL is where other instances reach it.
	URL string `json:"url"`
	// Scope says what is shared out: members of another scope are refused.
	Scope string `json:"scope"`
	// Partitions is the number of partitions as the member sees it.
	Partitions int32 `json:"partitions"`
	// Standbys is how many standby copies of each partition it was configured with.
	Standbys int `json:"standbys"`
	// Capacity is its share of the work, relative to that of others; at least 1.
	Capacity int `json:"capacity"`
	// Draining says that it wants to be given nothing any more.
	Draining bool `json:"draining,omitzero"`
	// Generation is that of the map by which it holds what it owns and keeps as a standby; 0 without one.
	Generation int32 `json:"generation,omitzero"`
	// Owned and Standby are the partitions it holds by that map, ascending.
	Owned   []int32 `json:"owned,omitzero"`
	Standby []int32 `json:"standby,omitzero"`
	// Copies are the local copies it has, ascending by partition, whether it should have them or not.
	Copies []Copy `json:"copies,omitzero"`
	// Memberships are the further groups that its process is a static member of.
	Memberships []Membership `json:"memberships,omitzero"`
}

// Membership is a static member of a consumer group (KIP-345).
type Membership struct {
	Group    string `json:"group"`
	Instance string `json:"instance"`
}

// Copy is a local copy of one partition.
type Copy struct {
	Partition int32 `json:"partition"`
	// Ready says that it is restored and followed: it can answer queries.
	Ready bool `json:"ready,omitzero"`
	// Position is the next changelog offset to apply.
	Position int64 `json:"position"`
}

// Append appends the member's encoding to dst.
func (m Member) Append(dst []byte) ([]byte, error) {
	encoded, err := json.Marshal(m)
	if err != nil {
		return dst, fmt.Errorf("encoding a member: %w", err)
	}
	return append(dst, encoded...), nil
}

// DecodeMember reads what Append wrote. Fields it does not know are skipped: a newer member may send them. The error
// wraps ErrMalformed.
func DecodeMember(data []byte) (m Member, err error) {
	if err := json.Unmarshal(data, &m); err != nil {
		return Member{}, fmt.Errorf("%w: a member: %w", ErrMalformed, err)
	}
	switch {
	case m.Instance == "" || m.URL == "":
		return Member{}, fmt.Errorf("%w: a member without instance or URL", ErrMalformed)
	case m.Partitions < 0 || m.Partitions > maxPartitions:
		return Member{}, fmt.Errorf("%w: a member sees %d partitions", ErrMalformed, m.Partitions)
	case m.Capacity < 1 || m.Standbys < 0:
		return Member{}, fmt.Errorf("%w: a member of capacity %d with %d standbys", ErrMalformed, m.Capacity, m.Standbys)
	}
	return m, nil
}

// Map says where each partition is. It is not changed once made.
type Map struct {
	// Generation is the group's generation it belongs to. It is not part of the encoding.
	Generation int32 `json:"-"`
	// Instances are the members that take part, ascending by name.
	Instances []Instance `json:"instances"`
	// Partitions say who holds each partition, by its number.
	Partitions []Holders `json:"partitions"`
	// Refused are the member ids that do not take part, with the reason.
	Refused map[string]string `json:"refused,omitzero"`
}

// Instance is one member that takes part.
type Instance struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// Memberships are as the member has said.
	Memberships []Membership `json:"memberships,omitzero"`
}

// Holders are who holds one partition: names of instances.
type Holders struct {
	// Owner answers for the partition. It is empty only in a map without instances.
	Owner string `json:"owner"`
	// Standbys hold copies that can answer, the first one first.
	Standbys []string `json:"standbys,omitzero"`
	// Warming build up copies and answer nothing yet.
	Warming []string `json:"warming,omitzero"`
}

// Role is what an instance is to a partition.
type Role int

// The roles, in ascending order of what they may do.
const (
	None Role = iota
	Warming
	Standby
	Owner
)

// String returns the role's name.
func (r Role) String() string { return [...]string{"none", "warming", "standby", "owner"}[r] }

// Append appends the map's encoding to dst.
func (m Map) Append(dst []byte) ([]byte, error) {
	encoded, err := json.Marshal(m, json.Deterministic(true))
	if err != nil {
		return dst, fmt.Errorf("encoding a map: %w", err)
	}
	return append(dst, encoded...), nil
}

// DecodeMap reads what Append wrote. The error wraps ErrMalformed.
func DecodeMap(data []byte) (m Map, err error) {
	if err := json.Unmarshal(data, &m); err != nil {
		return Map{}, fmt.Errorf("%w: a map: %w", ErrMalformed, err)
	}
	known := make(map[string]bool, len(m.Instances))
	for _, instance := range m.Instances {
		if instance.Name == "" || instance.URL == "" || known[instance.Name] {
			return Map{}, fmt.Errorf("%w: a map whose instance %q is nameless, nowhere or twice in it", ErrMalformed, instance.Name)
		}
		known[instance.Name] = true
	}
	for number, holders := range m.Partitions {
		for _, name := range slices.Concat([]string{holders.Owner}, holders.Standbys, holders.Warming) {
			if !known[name] {
				return Map{}, fmt.Errorf("%w: a map whose partition %d is held by the unknown %q", ErrMalformed, number, name)
			}
		}
	}
	return m, nil
}

// Role returns what an instance is to a partition.
func (m *Map) Role(partition int32, instance string) Role {
	if partition < 0 || int(partition) >= len(m.Partitions) {
		return None
	}
	holders := &m.Partitions[partition]
	switch {
	case holders.Owner == instance:
		return Owner
	case slices.Contains(holders.Standbys, instance):
		return Standby
	case slices.Contains(holders.Warming, instance):
		return Warming
	}
	return None
}

// URL returns where an instance is reached, or "" for one that is not in the map.
func (m *Map) URL(instance string) string {
	for _, known := range m.Instances {
		if known.Name == instance {
			return known.URL
		}
	}
	return ""
}

// With returns the partitions to which an instance has a role, ascending.
func (m *Map) With(instance string, role Role) (partitions []int32) {
	for number := range m.Partitions {
		if m.Role(int32(number), instance) == role {
			partitions = append(partitions, int32(number))
		}
	}
	return partitions
}
