package share

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// cluster plays members that follow the maps they get.
type cluster struct {
	random     *rand.Rand
	partitions int32
	standbys   int
	generation int32
	members    []Member
	names      int
}

func (c *cluster) join() {
	c.names++
	c.members = append(c.members, Member{
		ID: fmt.Sprint("id-", c.names), Instance: fmt.Sprintf("instance-%02d", c.names), URL: fmt.Sprint("http://host-", c.names),
		Scope: "changelog", Partitions: c.partitions, Standbys: c.standbys, Capacity: 1,
	})
}

// balance assigns in a random order of the members and gives them the map.
func (c *cluster) balance() Map {
	shuffled := slices.Clone(c.members)
	c.random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	m := Assign(shuffled)
	c.generation++
	for i := range c.members {
		member := &c.members[i]
		member.Generation = c.generation
		member.Owned, member.Standby = m.With(member.Instance, Owner), m.With(member.Instance, Standby)
		for _, number := range m.With(member.Instance, Warming) {
			if _, found := member.copyOf(number); !found {
				member.Copies = append(member.Copies, Copy{Partition: number})
			}
		}
		for _, number := range member.Owned {
			if _, found := member.copyOf(number); !found {
				member.Copies = append(member.Copies, Copy{Partition: number})
			}
		}
	}
	return m
}

// warm has some or all copies that are being built up be ready, and those that nobody asks for vanish.
func (c *cluster) warm(m Map, all bool) {
	for i := range c.members {
		member := &c.members[i]
		member.Copies = slices.DeleteFunc(member.Copies, func(held Copy) bool {
			return m.Role(held.Partition, member.Instance) == None && (all || c.random.IntN(2) == 0)
		})
		for j := range member.Copies {
			if all || c.random.IntN(2) == 0 {
				member.Copies[j].Ready = true
				member.Copies[j].Position = int64(1000*c.generation) + int64(c.random.IntN(10))
			}
		}
	}
}

// settle balances until nothing warms up any more.
func (c *cluster) settle(t *testing.T) Map {
	t.Helper()
	for range 10 {
		m := c.balance()
		warming := 0
		for _, holders := range m.Partitions {
			warming += len(holders.Warming)
		}
		c.warm(m, true)
		if warming == 0 {
			return m
		}
	}
	t.Fatal("the assignment does not come to rest")
	return Map{}
}

// ready reports whether an instance's copy can answer.
func (c *cluster) ready(instance string, partition int32) bool {
	for i := range c.members {
		if c.members[i].Instance == instance {
			held, _ := c.members[i].copyOf(partition)
			return held.Ready
		}
	}
	return false
}

// check asserts what holds for every map.
func (c *cluster) check(t *testing.T, m Map) {
	t.Helper()
	for number, holders := range m.Partitions {
		names := slices.Concat([]string{holders.Owner}, holders.Standbys, holders.Warming)
		slices.Sort(names)
		if len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Fatalf("partition %d is held twice by one instance: %+v", number, holders)
		}
		anyReady := false
		for i := range c.members {
			anyReady = anyReady || c.ready(c.members[i].Instance, int32(number))
		}
		if anyReady && !c.ready(holders.Owner, int32(number)) {
			t.Fatalf("partition %d goes to %s, which has no ready copy, and another has: %+v", number, holders.Owner, c.members)
		}
		for _, standby := range holders.Standbys {
			if !c.ready(standby, int32(number)) {
				t.Fatalf("partition %d has a standby %s that cannot answer", number, standby)
			}
		}
	}
}

// counts returns how many partitions each instance owns and keeps as a standby.
func (c *cluster) counts(m Map) (owned, kept map[string]int) {
	owned, kept = make(map[string]int), make(map[string]int)
	for _, holders := range m.Partitions {
		owned[holders.Owner]++
		for _, standby := range holders.Standbys {
			kept[standby]++
		}
	}
	return owned, kept
}

func TestAssignThroughChanges(t *testing.T) {
	for seed := range uint64(400) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			c := &cluster{random: random, partitions: 1 + random.Int32N(24), standbys: random.IntN(3)}
			c.join()
			for range 12 {
				switch {
				case len(c.members) < 2 || random.IntN(2) == 0:
					c.join()
				default:
					at := random.IntN(len(c.members))
					c.members = slices.Delete(c.members, at, at+1)
				}
				m := c.balance()
				c.check(t, m)
				c.warm(m, false)
				if random.IntN(2) == 0 {
					continue // the next change comes before this one has settled
				}
				m = c.settle(t)
				c.check(t, m)
				owned, kept := c.counts(m)
				standbys := min(c.standbys, len(c.members)-1)
				for _, member := range c.members {
					fair := int(c.partitions) / len(c.members)
					if n := owned[member.Instance]; n < fair || n > fair+1 {
						t.Fatalf("%s owns %d of %d partitions, of %d instances", member.Instance, n, c.partitions, len(c.members))
					}
					fair = int(c.partitions) * standbys / len(c.members)
					if n := kept[member.Instance]; n < fair-1 || n > fair+2 {
						t.Fatalf("%s is a standby of %d of %d partitions, of %d instances: %+v", member.Instance, n, c.partitions, len(c.members), m)
					}
				}
				for number, holders := range m.Partitions {
					if len(holders.Standbys) != standbys {
						t.Fatalf("partition %d has %d standbys, want %d", number, len(holders.Standbys), standbys)
					}
				}
				if again := c.balance(); !reflect.DeepEqual(again.Partitions, m.Partitions) {
					t.Fatalf("the map changes though nothing has changed:\n%+v\n%+v", m.Partitions, again.Partitions)
				}
			}
		})
	}
}

func TestAssignIsSticky(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 2))
		c := &cluster{random: random, partitions: 12, standbys: 1}
		for range 1 + random.IntN(5) {
			c.join()
		}
		before := c.settle(t)
		c.join()
		after := c.settle(t)
		moved := 0
		for number := range before.Partitions {
			if before.Partitions[number].Owner != after.Partitions[number].Owner {
				moved++
				if after.Partitions[number].Owner != c.members[len(c.members)-1].Instance {
					t.Fatalf("seed %d: partition %d moved between two that stayed", seed, number)
				}
			}
		}
		if fair := (12 + len(c.members) - 1) / len(c.members); moved > fair {
			t.Fatalf("seed %d: %d partitions moved to one of %d instances", seed, moved, len(c.members))
		}
	}
}

// When an instance is lost, its partitions go to their standbys at once, whatever the balance.
func TestAssignToStandbys(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 3))
		c := &cluster{random: random, partitions: 8, standbys: 1}
		for range 2 + random.IntN(3) {
			c.join()
		}
		before := c.settle(t)
		lost := c.members[random.IntN(len(c.members))].Instance
		c.members = slices.DeleteFunc(c.members, func(m Member) bool { return m.Instance == lost })
		after := c.balance()
		for number, holders := range before.Partitions {
			if holders.Owner == lost && after.Partitions[number].Owner != holders.Standbys[0] {
				t.Fatalf("seed %d: partition %d went to %s and its standby is %s", seed, number, after.Partitions[number].Owner, holders.Standbys[0])
			}
			if holders.Owner != lost && after.Partitions[number].Owner != holders.Owner && !c.ready(after.Partitions[number].Owner, int32(number)) {
				t.Fatalf("seed %d: partition %d moved to where it is not ready", seed, number)
			}
		}
	}
}

// A draining member lets go of what others can answer for, and only then.
func TestAssignWhileDraining(t *testing.T) {
	c := &cluster{random: rand.New(rand.NewPCG(1, 4)), partitions: 6}
	c.join()
	c.join()
	before := c.settle(t)
	c.members[0].Draining = true
	during := c.balance()
	if !reflect.DeepEqual(c.members[0].Owned, before.With(c.members[0].Instance, Owner)) {
		t.Fatalf("a draining member let go of what nobody else has: %+v", during.Partitions)
	}
	after := c.settle(t)
	if owned := after.With(c.members[0].Instance, Owner); owned != nil {
		t.Fatalf("a drained member still owns %v", owned)
	}
	c.members[1].Draining = true
	if all := c.settle(t); len(all.With(c.members[0].Instance, Owner)) == 0 || len(all.With(c.members[1].Instance, Owner)) == 0 {
		t.Fatal("where all are draining, each keeps its share")
	}
}

func TestAssignByCapacity(t *testing.T) {
	c := &cluster{random: rand.New(rand.NewPCG(1, 5)), partitions: 12}
	c.join()
	c.join()
	c.members[1].Capacity = 3
	owned, _ := c.counts(c.settle(t))
	if owned[c.members[0].Instance] != 3 || owned[c.members[1].Instance] != 9 {
		t.Fatalf("a capacity of 1 and one of 3 share 12 partitions as %v", owned)
	}
}

func TestAssignRefuses(t *testing.T) {
	works := Member{ID: "a", Instance: "z", URL: "http://one", Scope: "s", Partitions: 2, Capacity: 1, Generation: 3, Owned: []int32{0, 1}}
	sameURL := Member{ID: "b", Instance: "a", URL: "http://one", Scope: "s", Partitions: 2, Capacity: 1}
	otherScope := Member{ID: "c", Instance: "b", URL: "http://two", Scope: "t", Partitions: 2, Capacity: 1}
	sameName := Member{ID: "d", Instance: "z", URL: "http://three", Scope: "s", Partitions: 2, Capacity: 1}
	m := Assign([]Member{otherScope, sameURL, sameName, works})
	if len(m.Instances) != 1 || m.Instances[0].Name != "z" || len(m.Refused) != 3 {
		t.Fatalf("got %+v", m)
	}
	for _, id := range []string{"b", "c", "d"} {
		if m.Refused[id] == "" {
			t.Errorf("member %s is not refused", id)
		}
	}
}

func TestAssignNobody(t *testing.T) {
	if m := Assign(nil); len(m.Partitions) != 0 || len(m.Instances) != 0 {
		t.Fatalf("got %+v", m)
	}
}

func FuzzDecodeMember(f *testing.F) {
	encoded, err := Member{Instance: "a", URL: "http://a", Scope: "s", Partitions: 3, Capacity: 1, Owned: []int32{1}, Copies: []Copy{{Partition: 1, Ready: true, Position: 9}}}.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Add([]byte(`{"instance":"a","url":"b","capacity":1,"partitions":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeMember(data)
		if err != nil {
			return
		}
		if m.Partitions > 100 {
			return // Assign makes room for each
		}
		encoded, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeMember(encoded)
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v came back as %+v, %v", m, again, err)
		}
		made := Assign([]Member{m, {ID: "x", Instance: "other", URL: "http://other", Scope: m.Scope, Partitions: 2, Capacity: 1, Standbys: 1}})
		encoded, err = made.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeMap(encoded); err != nil {
			t.Fatalf("the map of %+v does not decode: %v", m, err)
		}
	})
}

func FuzzDecodeMap(f *testing.F) {
	f.Add([]byte(`{"instances":[{"name":"a","url":"http://a"}],"partitions":[{"owner":"a"}]}`))
	f.Add([]byte(`{"instances":[{"name":"a","url":"http://a"}],"partitions":[{"owner":"b"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeMap(data)
		if err != nil {
			return
		}
		for number := range m.Partitions {
			if owner := m.Partitions[number].Owner; m.URL(owner) == "" || m.Role(int32(number), owner) != Owner {
				t.Fatalf("partition %d of %+v is nowhere", number, m)
			}
		}
	})
}

// copyOf returns the member's copy of a partition.
func (m *Member) copyOf(partition int32) (Copy, bool) {
	for _, c := range m.Copies {
		if c.Partition == partition {
			return c, true
		}
	}
	return Copy{}, false
}
