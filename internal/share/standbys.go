package share

import (
	"cmp"
	"slices"
)

// chooseStandbys decides who shall keep standby copies of what: those who do, then those with a ready copy, with one on
// the disk, and then whoever has the least to do.
func (a *assignment) chooseStandbys() {
	a.spares = make([][]int, a.partitions)
	members := 0
	for _, eligible := range a.eligible {
		if eligible {
			members++
		}
	}
	wanted := min(a.standbys, members-1)
	if wanted <= 0 {
		return
	}
	have := make([]int, len(a.members))
	for _, kept := range a.kept {
		for _, i := range kept {
			have[i]++
		}
	}
	room := a.quotas(int(a.partitions)*wanted, have)
	keeps := func(number, i int) bool { return slices.Contains(a.kept[number], i) }
	for _, fits := range []func(number, i int) bool{
		func(number, i int) bool { return keeps(number, i) && a.copies[i][number] == 2 },
		keeps,
		func(number, i int) bool { return a.copies[i][number] == 2 },
		func(number, i int) bool { return a.copies[i][number] == 1 },
		func(number, i int) bool { return true },
	} {
		for number := range a.spares {
			a.fill(number, wanted, room, fits)
		}
	}
	for number := range a.spares {
		for len(a.spares[number]) < wanted {
			a.squeeze(number, room)
		}
	}
	for number, spares := range a.spares {
		// In an order that says nothing of how it came about, and not the same one first everywhere.
		slices.Sort(spares)
		first := number % len(spares)
		a.spares[number] = slices.Concat(spares[first:], spares[:first])
	}
}

// fill gives a partition standbys that fit and have room.
func (a *assignment) fill(number, wanted int, room []int, fits func(number, i int) bool) {
	var candidates []int
	for i := range a.members {
		if a.mayKeep(number, i) && room[i] > 0 && fits(number, i) {
			candidates = append(candidates, i)
		}
	}
	slices.SortStableFunc(candidates, func(i, j int) int {
		return cmp.Or(cmp.Compare(room[j], room[i]), cmp.Compare(a.positions[j][number], a.positions[i][number]))
	})
	for _, i := range candidates[:min(len(candidates), wanted-len(a.spares[number]))] {
		a.spares[number] = append(a.spares[number], i)
		room[i]--
	}
}

// mayKeep reports whether a member can become a standby of a partition.
func (a *assignment) mayKeep(number, i int) bool {
	return a.eligible[i] && a.target[number] != i && !slices.Contains(a.spares[number], i)
}

// squeeze finds a standby for a partition to which all with room are something already: one of them takes another's
// place at another partition, and that one comes here. Where no such exchange is possible (with unequal capacities a share can be
// larger than what there is to keep), the one with the most room left takes it.
func (a *assignment) squeeze(number int, room []int) {
	for roomy := range a.members {
		if room[roomy] <= 0 {
			continue
		}
		for other := range a.spares {
			if other == number || !a.mayKeep(other, roomy) {
				continue
			}
			for at, i := range a.spares[other] {
				if a.mayKeep(number, i) {
					a.spares[other][at] = roomy
					a.spares[number] = append(a.spares[number], i)
					room[roomy]--
					return
				}
			}
		}
	}
	best := nobody
	for i := range a.members {
		if a.mayKeep(number, i) && (best == nobody || room[i] > room[best]) {
			best = i
		}
	}
	a.spares[number] = append(a.spares[number], best)
	room[best]--
}
