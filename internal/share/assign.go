package share

import (
	"cmp"
	"fmt"
	"slices"
)

// Assign shares the partitions out over the members. It is a pure function: the same members, in whatever order, give the
// same map.
//
//   - Balanced: owners, and standby copies, are shared out in proportion to capacity, to the nearest whole number.
//   - Sticky: what a member owns or keeps as a standby it keeps, as far as the balance allows.
//   - Warm first: a partition that has to move goes where a copy is ready, else where one is on the disk. Where the
//     one it shall go to has no ready copy, it stays where one is ready until that has been built up, and moves at
//     the next assignment (the warm-up of KIP-441).
//   - Standby copies are on other instances than their owner, as many as wanted and as there are instances for.
//   - A draining member is given nothing new, and keeps what nobody else can answer for yet.
//
// Members that cannot take part are refused, with the reason: two that have the same URL, or that share something else.
func Assign(members []Member) Map {
	a := newAssignment(members)
	m := Map{Partitions: make([]Holders, a.partitions), Refused: a.refused}
	for _, member := range a.members {
		m.Instances = append(m.Instances, Instance{Name: member.Instance, URL: member.URL, Memberships: member.Memberships})
	}
	if len(a.members) == 0 {
		m.Partitions = nil
		return m
	}
	a.chooseOwners()
	a.chooseStandbys()
	for number := range m.Partitions {
		m.Partitions[number] = a.holders(int32(number))
	}
	return m
}

// nobody stands for no member where members are named by their index.
const nobody = -1

// assignment is one computation. Members are named by their index.
type assignment struct {
	members    []Member // who take part, ascending by instance
	refused    map[string]string
	partitions int32
	standbys   int
	eligible   []bool  // may be given something
	capacity   int     // of all who are eligible
	copies     [][]int // by member and partition: 2 ready, 1 on the disk, 0 none
	positions  [][]int64
	claimed    []int   // by partition: who owns it by the newest map that a member knows
	kept       [][]int // by partition: who are its standbys by the maps they know
	target     []int   // by partition: who shall own it
	spares     [][]int // by partition: who shall be its standbys
}

func newAssignment(members []Member) *assignment {
	a := &assignment{}
	a.members, a.refused = admit(members)
	for _, member := range a.members {
		a.partitions = max(a.partitions, member.Partitions)
		a.standbys = max(a.standbys, member.Standbys)
	}
	draining := 0
	for _, member := range a.members {
		if member.Draining {
			draining++
		}
	}
	a.claimed = make([]int, a.partitions)
	a.kept = make([][]int, a.partitions)
	for number := range a.claimed {
		a.claimed[number] = nobody
	}
	for i, member := range a.members {
		eligible := !member.Draining || draining == len(a.members)
		a.eligible = append(a.eligible, eligible)
		if eligible {
			a.capacity += member.Capacity
		}
		copies, positions := make([]int, a.partitions), make([]int64, a.partitions)
		for _, c := range member.Copies {
			if c.Partition < 0 || c.Partition >= a.partitions {
				continue
			}
			copies[c.Partition], positions[c.Partition] = 1, c.Position
			if c.Ready {
				copies[c.Partition] = 2
			}
		}
		a.copies, a.positions = append(a.copies, copies), append(a.positions, positions)
		for _, number := range member.Owned {
			if number < 0 || number >= a.partitions {
				continue
			}
			if other := a.claimed[number]; other == nobody || a.members[other].Generation < member.Generation {
				a.claimed[number] = i
			}
		}
		for _, number := range member.Standby {
			if number >= 0 && number < a.partitions {
				a.kept[number] = append(a.kept[number], i)
			}
		}
	}
	return a
}

// admit returns who take part, ascending by instance, and why others do not.
func admit(members []Member) (admitted []Member, refused map[string]string) {
	sorted := slices.Clone(members)
	// Those who hold something by a map come first: a newcomer is refused, not the one that works.
	slices.SortFunc(sorted, func(a, b Member) int {
		return cmp.Or(cmp.Compare(b.Generation, a.Generation), cmp.Compare(len(b.Owned), len(a.Owned)), cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.ID, b.ID))
	})
	refused = make(map[string]string)
	for _, member := range sorted {
		reason := ""
		for _, earlier := range admitted {
			switch {
			case earlier.Scope != member.Scope:
				reason = fmt.Sprintf("the group shares out %q, and this instance %q; give each its own group", earlier.Scope, member.Scope)
			case earlier.URL == member.URL:
				reason = fmt.Sprintf("the instance %q advertises the same URL %s; give each instance its own", earlier.Instance, member.URL)
			case earlier.Instance == member.Instance:
				reason = fmt.Sprintf("another process at %s has the same instance name %q", earlier.URL, earlier.Instance)
			}
		}
		if reason != "" {
			refused[member.ID] = reason
			continue
		}
		admitted = append(admitted, member)
	}
	slices.SortFunc(admitted, func(a, b Member) int { return cmp.Compare(a.Instance, b.Instance) })
	if len(refused) == 0 {
		refused = nil
	}
	return admitted, refused
}

// quotas shares total out over the eligible members in proportion to capacity. What is left over by rounding goes to the
// largest remainders, among equals to those that have more already.
func (a *assignment) quotas(total int, have []int) []int {
	quotas := make([]int, len(a.members))
	var order []int
	left := total
	for i, member := range a.members {
		if a.eligible[i] {
			quotas[i] = total * member.Capacity / a.capacity
			left -= quotas[i]
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(i, j int) int {
		return cmp.Or(
			cmp.Compare(total*a.members[j].Capacity%a.capacity, total*a.members[i].Capacity%a.capacity),
			cmp.Compare(have[j], have[i]), cmp.Compare(i, j))
	})
	for _, i := range order[:left] {
		quotas[i]++
	}
	return quotas
}

// chooseOwners decides who shall own what.
func (a *assignment) chooseOwners() {
	have := make([]int, len(a.members))
	for _, owner := range a.claimed {
		if owner != nobody {
			have[owner]++
		}
	}
	quotas := a.quotas(int(a.partitions), have)
	room := slices.Clone(quotas)
	a.target = make([]int, a.partitions)
	for number := range a.target {
		a.target[number] = nobody
	}
	for owner := range a.members {
		for _, number := range a.worthKeeping(owner, have, quotas) {
			if room[owner] > 0 {
				a.target[number] = owner
				room[owner]--
			}
		}
	}
	var homeless []int
	for number, owner := range a.target {
		if owner == nobody {
			homeless = append(homeless, number)
		}
	}
	for _, warmth := range []int{2, 1, 0} {
		// Where there is the least choice, first.
		slices.SortStableFunc(homeless, func(p, q int) int {
			return cmp.Compare(len(a.withCopy(p, warmth, room)), len(a.withCopy(q, warmth, room)))
		})
		homeless = slices.DeleteFunc(homeless, func(number int) bool {
			candidates := a.withCopy(number, warmth, room)
			if len(candidates) == 0 {
				return false
			}
			owner := slices.MinFunc(candidates, func(i, j int) int {
				return cmp.Or(cmp.Compare(a.positions[j][number], a.positions[i][number]), cmp.Compare(room[j], room[i]), cmp.Compare(i, j))
			})
			a.target[number] = owner
			room[owner]--
			return true
		})
	}
}

// worthKeeping returns what an eligible member owns. What another who owns too little has a ready copy of comes last: that
// is let go first.
func (a *assignment) worthKeeping(owner int, have, quotas []int) (owned []int) {
	if !a.eligible[owner] {
		return nil
	}
	elsewhere := func(number int) int {
		for i := range a.members {
			if i != owner && a.copies[i][number] == 2 && have[i] < quotas[i] {
				return 1
			}
		}
		return 0
	}
	for number, claimant := range a.claimed {
		if claimant == owner {
			owned = append(owned, number)
		}
	}
	slices.SortStableFunc(owned, func(p, q int) int { return cmp.Compare(elsewhere(p), elsewhere(q)) })
	return owned
}

// withCopy returns the members with room whose copy of a partition is at least that warm.
func (a *assignment) withCopy(number, warmth int, room []int) (members []int) {
	for i := range a.members {
		if room[i] > 0 && a.copies[i][number] >= warmth {
			members = append(members, i)
		}
	}
	return members
}

// holders returns who holds a partition now, on the way to those who shall.
func (a *assignment) holders(number int32) Holders {
	target := a.target[number]
	owner := target
	ready := func(i int) bool { return a.copies[i][number] == 2 }
	if !ready(target) {
		if claimed := a.claimed[number]; claimed != nobody && ready(claimed) {
			owner = claimed
		} else if best := a.furthest(number); best != nobody {
			owner = best
		}
	}
	var standbys, warming []int
	if owner != target {
		warming = append(warming, target)
	}
	for _, spare := range a.spares[number] {
		switch {
		case spare == owner:
		case ready(spare):
			standbys = append(standbys, spare)
		default:
			warming = append(warming, spare)
		}
	}
	// Until the new ones are ready, those that were standbys stay, and so does who was the owner.
	for _, former := range append(slices.Clone(a.kept[number]), a.claimed[number]) {
		if len(standbys) >= len(a.spares[number]) {
			break
		}
		if former != nobody && former != owner && ready(former) && !slices.Contains(standbys, former) && !slices.Contains(warming, former) {
			standbys = append(standbys, former)
		}
	}
	return Holders{Owner: a.members[owner].Instance, Standbys: a.names(standbys), Warming: a.names(warming)}
}

// furthest returns the member whose ready copy of a partition is the furthest, or nobody.
func (a *assignment) furthest(number int32) int {
	best := nobody
	for i := range a.members {
		if a.copies[i][number] == 2 && (best == nobody || a.positions[i][number] > a.positions[best][number]) {
			best = i
		}
	}
	return best
}

func (a *assignment) names(indexes []int) (names []string) {
	for _, i := range indexes {
		names = append(names, a.members[i].Instance)
	}
	return names
}
