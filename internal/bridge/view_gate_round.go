package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// viewSpread is where the partitions of a topic are.
type viewSpread struct {
	id      [16]byte
	leaders []int32
}

// viewRound is one round of questions for all who wait. A waiter goes through stages: the group of a stage must pass what
// the stage's topics ended with, at a time after the group before had passed; after the last stage the changelog's end is
// noted. What a topic ends with is the end of all records. A group commits past records alone, and not past the markers
// behind them, nor past aborted records: so the end that it must pass is that of the last committed record, which is looked
// for once everything below the end is decided.
type viewRound struct {
	gate    *viewGate
	session *viewSession
	ctx     context.Context
	moved   bool // somebody has come to the next stage

	committed []map[viewPlace]int64 // by stage, of the places asked for; absent for none
}

// run makes the round and reports whether somebody is left waiting.
func (r *viewRound) run() (pending bool, err error) {
	waiters := r.gate.waiting()
	if len(waiters) == 0 {
		return false, nil
	}
	left := waiters[:0]
	for _, w := range waiters {
		if w.path == nil {
			err := r.prepare(w)
			if errors.Is(err, ErrForeignToken) {
				r.gate.arrived([]*viewToken{w}, []viewArrival{{err: err}})
				continue
			}
			if err != nil {
				return true, err
			}
		}
		left = append(left, w)
	}
	if waiters = left; len(waiters) == 0 {
		return false, nil
	}
	if err := r.news(waiters); err != nil {
		return true, err
	}
	if err := r.ask(waiters); err != nil {
		return true, err
	}
	if err := r.look(waiters); err != nil {
		return true, err
	}
	return r.advance(waiters)
}

// waiting returns those who wait now.
func (g *viewGate) waiting() []*viewToken {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.waiters)
}

// prepare finds the partitions that a waiter must follow at each stage: those that the command's effects may be on, and
// from which they may come to the partitions that matter.
func (r *viewRound) prepare(w *viewToken) error {
	config := &r.session.view.config
	if len(config.Hops) > 0 && !w.news {
		if err := r.exists(w.place); err != nil {
			return err
		}
	}
	path := make([]map[string][]int32, len(config.Hops)+2)
	reached := []int32{w.place.partition} // nil for all
	if w.news {
		reached = nil
	}
	for i := range config.Hops {
		if config.Hops[i].Repartitioned {
			reached = nil
		}
		for _, topic := range config.Hops[i].Topics {
			numbers, err := r.numbers(topic, reached)
			if err != nil {
				return err
			}
			path[i+1] = viewAdd(path[i+1], topic, numbers)
		}
	}
	numbers, err := r.numbers(config.Topic, reached)
	if err != nil {
		return err
	}
	path[len(path)-1] = viewAdd(nil, config.Topic, numbers)
	if !w.news {
		path[0] = viewAdd(nil, w.place.topic, []int32{w.place.partition})
	}
	if len(w.numbers) > 0 {
		for i := len(path) - 1; i > 0; i-- {
			for topic, numbers := range path[i] {
				path[i][topic] = slices.DeleteFunc(numbers, func(n int32) bool { return !slices.Contains(w.numbers, n) })
			}
			if i <= len(config.Hops) && config.Hops[i-1].Repartitioned {
				break
			}
		}
	}
	w.path, w.stage, w.ends = path, 0, nil
	w.wants = map[viewPlace]int64{w.place: w.offset + 1}
	if w.news {
		w.stage, w.wants, w.asked = 1, make(map[viewPlace]int64), time.Time{} // see news
	}
	return nil
}

// news takes the waiters for news who are new to where the hops begin: what can be read there now is what they follow.
func (r *viewRound) news(waiters []*viewToken) error {
	var begun []*viewToken
	wanted := make(map[viewPlace]int64)
	for _, w := range waiters {
		if !w.news || !w.asked.IsZero() {
			continue
		}
		begun = append(begun, w)
		for topic, numbers := range w.path[1] {
			for _, number := range numbers {
				wanted[viewPlace{topic, number}] = 0
			}
		}
	}
	if len(begun) == 0 {
		return nil
	}
	asked := time.Now()
	for topic, numbers := range viewByTopic(wanted) {
		ends, err := viewOffsets(r.ctx, r.session.client, topic, numbers, viewNewest, viewReadCommitted)
		if err != nil {
			return err
		}
		for number, end := range ends {
			wanted[viewPlace{topic, number}] = end
		}
	}
	for _, w := range begun {
		w.asked, w.ends = asked, make(map[viewPlace]int64)
		for topic, numbers := range w.path[1] {
			for _, number := range numbers {
				w.ends[viewPlace{topic, number}] = wanted[viewPlace{topic, number}]
			}
		}
	}
	return nil
}

// exists returns an error that wraps ErrForeignToken if a topic does not have a partition.
func (r *viewRound) exists(place viewPlace) error {
	spread, err := r.spread(place.topic)
	if err == nil && int(place.partition) >= len(spread.leaders) {
		delete(r.gate.topics, place.topic) // it may have got more since
		spread, err = r.spread(place.topic)
	}
	if err == nil && int(place.partition) >= len(spread.leaders) {
		err = fmt.Errorf("%w: it is of partition %d, and %s has %d", ErrForeignToken, place.partition, place.topic, len(spread.leaders))
	}
	return err
}

func viewAdd(path map[string][]int32, topic string, numbers []int32) map[string][]int32 {
	if path == nil {
		path = make(map[string][]int32)
	}
	path[topic] = numbers
	return path
}

// numbers returns those of the numbers that a topic has as partitions, or all of them for none given.
func (r *viewRound) numbers(topic string, numbers []int32) ([]int32, error) {
	spread, err := r.spread(topic)
	if err != nil {
		return nil, err
	}
	if numbers == nil {
		return viewNumbers(len(spread.leaders)), nil
	}
	for _, number := range numbers {
		if int(number) >= len(spread.leaders) {
			return nil, fmt.Errorf("%s has %d partitions, and records of partition %d are said to lead there", topic, len(spread.leaders), number)
		}
	}
	return slices.Clone(numbers), nil
}

// spread returns where the partitions of a topic are.
func (r *viewRound) spread(topic string) (viewSpread, error) {
	if known, found := r.gate.topics[topic]; found {
		return known, nil
	}
	client := r.session.client
	if topic != r.session.view.config.Topic {
		reader, err := r.gate.connected()
		if err != nil {
			return viewSpread{}, err
		}
		client = reader // which knows the leaders then
	}
	described, leaders, err := viewLeaders(r.ctx, client, topic)
	if err != nil {
		return viewSpread{}, err
	}
	spread := viewSpread{id: described.id, leaders: leaders}
	r.gate.topics[topic] = spread
	return spread, nil
}

// ask asks the groups of the stages that somebody is at for what they have committed.
func (r *viewRound) ask(waiters []*viewToken) error {
	config := &r.session.view.config
	wanted := make([]map[viewPlace]int64, len(config.Hops)+1)
	for _, w := range waiters {
		if wanted[w.stage] == nil {
			wanted[w.stage] = make(map[viewPlace]int64)
		}
		maps.Copy(wanted[w.stage], w.wants)
		maps.Copy(wanted[w.stage], w.ends)
	}
	r.committed = make([]map[viewPlace]int64, len(wanted))
	for stage, places := range wanted {
		if places == nil {
			continue
		}
		group := config.Group
		if stage > 0 {
			group = config.Hops[stage-1].Group
		}
		answer, err := viewCommitted(r.ctx, r.session.client, group, viewByTopic(places))
		if err != nil {
			return err
		}
		r.committed[stage] = make(map[viewPlace]int64)
		for topic, partitions := range answer {
			for number, offset := range partitions {
				if offset >= 0 {
					r.committed[stage][viewPlace{topic, number}] = offset
				}
			}
		}
	}
	return nil
}

// viewByTopic returns the partitions by topic.
func viewByTopic(places map[viewPlace]int64) map[string][]int32 {
	byTopic := make(map[string][]int32)
	for place := range places {
		byTopic[place.topic] = append(byTopic[place.topic], place.partition)
	}
	return byTopic
}

// look turns the ends that waiters are at into offsets that the group must have committed, where everything below is
// decided. Places are looked at once for all who are at them.
func (r *viewRound) look(waiters []*viewToken) error {
	undecided := make(map[viewPlace]int64)
	for _, w := range waiters {
		for place, end := range w.ends {
			if r.committed[w.stage][place] >= end {
				delete(w.ends, place) // passed already, whatever is there
				continue
			}
			undecided[place] = end
		}
	}
	if len(undecided) == 0 {
		return nil
	}
	stable := make(map[viewPlace]int64)
	for topic, numbers := range viewByTopic(undecided) {
		ends, err := viewOffsets(r.ctx, r.session.client, topic, numbers, viewNewest, viewReadCommitted)
		if err != nil {
			return err
		}
		for number, end := range ends {
			stable[viewPlace{topic, number}] = end
		}
	}
	for _, w := range waiters {
		for place, end := range w.ends {
			if stable[place] < end {
				continue
			}
			known := r.gate.looked[place]
			if known.end != end {
				wants, err := r.last(place, r.committed[w.stage][place], end)
				if err != nil {
					return err
				}
				known = viewLooked{end: end, wants: wants}
				r.gate.looked[place] = known
			}
			delete(w.ends, place)
			w.wants[place] = known.wants
		}
	}
	return nil
}

// last returns the offset after the last committed record of a partition below an end, or 0 if there is none from the
// committed offset on.
func (r *viewRound) last(place viewPlace, committed, end int64) (int64, error) {
	spread, err := r.spread(place.topic)
	if err != nil {
		return 0, err
	}
	source := viewSource{topic: place.topic, id: spread.id, number: place.partition, leader: spread.leaders[place.partition]}
	for window := int64(16); ; window *= 16 {
		from := max(committed, end-window)
		after, err := r.lastFrom(source, from, end)
		if errors.Is(err, kerr.OffsetOutOfRange) {
			// The log has let go of what lies there, or the group has never committed: what there is begins later.
			starts, err := viewOffsets(r.ctx, r.session.client, place.topic, []int32{place.partition}, viewOldest, viewReadUncommitted)
			if err != nil {
				return 0, err
			}
			if committed = max(committed, starts[place.partition]); committed >= end {
				return 0, nil
			}
			continue
		}
		if err != nil || after > 0 || from == committed {
			return after, err
		}
	}
}

// lastFrom is last within a stretch.
func (r *viewRound) lastFrom(source viewSource, from, end int64) (after int64, err error) {
	reader, err := r.gate.connected()
	if err != nil {
		return 0, err
	}
	for idle := 0; from < end; {
		records, next, err := viewRead(r.ctx, reader, source, from)
		if err != nil {
			return 0, err
		}
		for _, record := range records {
			if record.Offset < end && !record.Attrs.IsControl() {
				after = record.Offset + 1
			}
		}
		if next == from {
			if idle++; idle > 3 {
				break // nothing is left there: compacted away, or brokers say so when they throttle
			}
			continue
		}
		from, idle = next, 0
	}
	if from < end && after == 0 {
		return 0, fmt.Errorf("the broker has nothing at offset %d of %s/%d, below %d", from, source.topic, source.number, end)
	}
	return after, nil
}

// advance takes the waiters whose group has passed to the next stage: that of what its topics end with now, or the end.
func (r *viewRound) advance(waiters []*viewToken) (pending bool, err error) {
	var passed []*viewToken
	wanted := make(map[string]map[int32]bool)
	for _, w := range waiters {
		if len(w.ends) > 0 || !r.beyond(w) {
			continue
		}
		passed = append(passed, w)
		for topic, numbers := range w.path[w.stage+1] {
			if wanted[topic] == nil {
				wanted[topic] = make(map[int32]bool)
			}
			for _, number := range numbers {
				wanted[topic][number] = true
			}
		}
	}
	ends := make(map[string]map[int32]int64)
	for topic, numbers := range wanted {
		if ends[topic], err = viewOffsets(r.ctx, r.session.client, topic, slices.Collect(maps.Keys(numbers)), viewNewest, viewReadUncommitted); err != nil {
			return true, err
		}
	}
	var done []*viewToken
	var arrivals []viewArrival
	for _, w := range passed {
		if w.stage == 0 {
			w.first = r.committed[0][w.place]
		}
		w.stage++
		r.moved = true
		if w.stage == len(w.path)-1 {
			topic := r.session.view.config.Topic
			arrival := viewArrival{ends: make(map[int32]int64), asked: w.asked}
			for _, number := range w.path[w.stage][topic] {
				arrival.ends[number] = ends[topic][number]
			}
			done, arrivals = append(done, w), append(arrivals, arrival)
			continue
		}
		w.ends, w.wants = make(map[viewPlace]int64), make(map[viewPlace]int64)
		for topic, numbers := range w.path[w.stage] {
			for _, number := range numbers {
				w.ends[viewPlace{topic, number}] = ends[topic][number]
			}
		}
	}
	return r.gate.arrived(done, arrivals), nil
}

// beyond reports whether the group of a waiter's stage has committed all that it must.
func (r *viewRound) beyond(w *viewToken) bool {
	for place, offset := range w.wants {
		if r.committed[w.stage][place] < offset {
			return false
		}
	}
	return true
}
