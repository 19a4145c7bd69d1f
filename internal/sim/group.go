package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/log"
)

// group is the consumer group at its coordinator: the eager protocol with static members (KIP-345), and offsets, committed
// plainly or in transactions (KIP-447).
type group struct {
	brokers    *brokers
	generation int32
	preparing  bool // a rebalance waits for the members to join
	members    []*member
	count      int // member ids given so far
	records    int // offset commits written so far
	offsets    map[commit.Place]stableOffset
	pending    map[int64]map[commit.Place]stableOffset // by producer id: what no marker has decided
}

// stableOffset is a committed offset.
type stableOffset struct {
	next     int64
	metadata string
	order    int // of its record in the group's partition
}

// member is a member of the group. A static member that comes back takes its place under a new id.
type member struct {
	id, instance string
	heard        time.Duration
	awaiting     bool  // its JoinGroup is held until the rebalance completes
	answer       int32 // the generation that its JoinGroup was answered with; -1 while it is held
	assigned     []int32
}

// errRejoin is what a heartbeat answers while a rebalance waits for the member.
var errRejoin = fmt.Errorf("%w: a rebalance is in progress", log.ErrMemberFenced)

func newGroup(b *brokers) *group {
	return &group{brokers: b, offsets: map[commit.Place]stableOffset{}, pending: map[int64]map[commit.Place]stableOffset{}}
}

func (g *group) find(instance string) *member {
	for _, m := range g.members {
		if m.instance == instance {
			return m
		}
	}
	return nil
}

// join asks to be a member. Poll with joined.
func (g *group) join(instance, id string) (string, error) {
	if !g.brokers.led(offsetsPlace) {
		return "", errNoLeader
	}
	s := g.brokers.schedule
	m := g.find(instance)
	switch {
	case m == nil && id != "":
		return "", fmt.Errorf("%w: unknown member %s", log.ErrMemberFenced, id)
	case m == nil:
		g.count++
		m = &member{instance: instance, id: fmt.Sprintf("%s-%d", instance, g.count)}
		g.members = append(g.members, m)
		slices.SortFunc(g.members, func(a, b *member) int { return strings.Compare(a.instance, b.instance) })
		g.rebalance()
	case id == "":
		g.count++ // a static member has come back: the old process is fenced, the generation stays (KIP-814)
		m.id = fmt.Sprintf("%s-%d", instance, g.count)
	case id != m.id:
		return "", fmt.Errorf("%w: member %s, now %s", log.ErrInstanceFenced, id, m.id)
	case s.chance(0.5):
		g.rebalance() // as a leader's JoinGroup does; a follower's is answered at once
	}
	m.heard, m.answer, m.awaiting = s.now, g.generation, g.preparing
	if g.preparing {
		m.answer = -1
	}
	return m.id, nil
}

// joined tells whether a member's JoinGroup is answered.
func (g *group) joined(instance, id string) (generation int32, assigned []int32, done bool, err error) {
	for _, m := range g.members {
		if m.id == id {
			m.heard = g.brokers.schedule.now
			return m.answer, m.assigned, m.answer >= 0, nil
		}
	}
	if m := g.find(instance); m != nil {
		return 0, nil, false, fmt.Errorf("%w: member %s, now %s", log.ErrInstanceFenced, id, m.id)
	}
	return 0, nil, false, fmt.Errorf("%w: unknown member %s", log.ErrMemberFenced, id)
}

// rebalance begins one.
func (g *group) rebalance() {
	if g.preparing {
		return
	}
	g.preparing = true
	for _, m := range g.members {
		m.awaiting = false
	}
}

// watch removes members that were not heard of, and completes a rebalance when all have joined.
func (g *group) watch() {
	s := g.brokers.schedule
	for i := 0; i < len(g.members); i++ {
		m := g.members[i]
		if !g.brokers.led(offsetsPlace) {
			m.heard = s.now // nobody watches
		}
		if s.now-m.heard > g.brokers.profile.sessionTimeout {
			s.note("group: member %s has timed out", m.id)
			g.members = slices.Delete(g.members, i, i+1)
			g.rebalance()
			i--
		}
	}
	if g.preparing && len(g.members) > 0 && g.brokers.led(offsetsPlace) && !slices.ContainsFunc(g.members, func(m *member) bool { return !m.awaiting }) {
		g.assign()
	}
	s.after(2*time.Millisecond, g.watch)
}

func (g *group) assign() {
	s := g.brokers.schedule
	g.generation++
	g.preparing = false
	for _, m := range g.members {
		m.assigned, m.heard, m.answer, m.awaiting = nil, s.now, g.generation, false
	}
	shift := s.random.IntN(len(g.members))
	for number := range g.brokers.profile.partitions {
		m := g.members[(int(number)+shift)%len(g.members)]
		m.assigned = append(m.assigned, number)
	}
	s.note("group: generation %d of %d members", g.generation, len(g.members))
}

// leave removes a member at once (RemoveMemberFromConsumerGroup).
func (g *group) leave(instance string) {
	if m := g.find(instance); m != nil {
		g.members = slices.DeleteFunc(g.members, func(other *member) bool { return other == m })
		g.rebalance()
	}
}

// validate tells whether a member may commit offsets. As in Kafka, one that names neither generation nor member is not asked.
func (g *group) validate(who log.Member) error {
	if who.Generation < 0 && who.MemberID == "" {
		return nil
	}
	if who.InstanceID != "" {
		if m := g.find(who.InstanceID); m != nil && m.id != who.MemberID {
			return fmt.Errorf("%w: member %s, now %s", log.ErrInstanceFenced, who.MemberID, m.id)
		}
	}
	if !slices.ContainsFunc(g.members, func(m *member) bool { return m.id == who.MemberID }) {
		return fmt.Errorf("%w: unknown member %s", log.ErrMemberFenced, who.MemberID)
	}
	if who.Generation != g.generation {
		return fmt.Errorf("%w: generation %d, now %d", log.ErrMemberFenced, who.Generation, g.generation)
	}
	return nil
}

// heartbeat tells that a member is alive.
func (g *group) heartbeat(who log.Member) error {
	if !g.brokers.led(offsetsPlace) {
		return errNoLeader
	}
	if err := g.validate(who); err != nil {
		return err
	}
	g.find(who.InstanceID).heard = g.brokers.schedule.now
	if g.preparing {
		return errRejoin
	}
	return nil
}

// errUnstable is what a fetch of stable offsets answers while a transaction holds one of them.
var errUnstable = fmt.Errorf("unstable offset commit")

// fetch returns the stable committed offsets (KIP-447's RequireStable).
func (g *group) fetch() (map[commit.Place]stableOffset, error) {
	if !g.brokers.led(offsetsPlace) {
		return nil, errNoLeader
	}
	found := map[commit.Place]stableOffset{}
	for place, at := range g.offsets {
		found[place] = at
	}
	if len(g.pending) > 0 {
		return nil, errUnstable
	}
	return found, nil
}

// unstable tells whether a transaction holds the offset of a place.
func (g *group) unstable(place commit.Place) bool {
	for _, offsets := range g.pending {
		if _, ok := offsets[place]; ok {
			return true
		}
	}
	return false
}

func (g *group) pend(pid int64, place commit.Place, at stableOffset) {
	if g.pending[pid] == nil {
		g.pending[pid] = map[commit.Place]stableOffset{}
	}
	g.pending[pid][place] = at
}

// settle is the marker in the group's own partition. It decides all that the producer has committed since its last marker.
func (g *group) settle(tx *transaction) {
	for place, at := range g.pending[tx.pid] {
		// A marker may come after that of a later transaction: the later record stands, as in Kafka.
		if tx.fate == committed && at.order > g.offsets[place].order {
			g.offsets[place] = at
			g.brokers.observe.offset(place, at)
		}
	}
	delete(g.pending, tx.pid)
}
