package follow

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// resolve looks into silence while somebody wants it: one round asks for the group's offsets and the topics' ends for
// all who wait.
func (f *Follower) resolve(ctx context.Context) {
	pause := f.timing.Poll
	for {
		if f.wanted() == 0 {
			select {
			case <-ctx.Done():
				return
			case <-f.kick:
				pause = f.timing.Poll
			}
			continue
		}
		progress, err := f.round(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			f.logger.Debug("looking into silent outcomes failed", "error", err)
			pause = f.timing.PollMost
		case progress:
			pause = f.timing.Poll
		default:
			pause = min(2*pause, f.timing.PollMost)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-f.kick:
			timer.Stop()
			pause = f.timing.Poll
			if !sleep(ctx, pause) {
				return
			}
		case <-timer.C:
		}
	}
}

// wanted counts the waits for silence.
func (f *Follower) wanted() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	count := 0
	for place, waits := range f.waits {
		if place.Offset < f.settled[place.Partition] {
			continue // about to leave
		}
		for _, w := range waits {
			if w.wanted {
				count++
			}
		}
	}
	return count
}

// round settles what the group's offset allows. It reports whether a wait was settled.
func (f *Follower) round(ctx context.Context) (bool, error) {
	call, cancel := context.WithTimeout(ctx, f.timing.Call)
	defer cancel()
	committed, err := f.log.Committed(call, f.spec.Group, f.spec.Commands)
	if err != nil {
		return false, fmt.Errorf("asking for the offsets of group %s: %w", f.spec.Group, err)
	}
	candidates := f.candidates(committed)
	if len(candidates) == 0 {
		return false, nil
	}
	f.mu.Lock()
	topics := maps.Clone(f.followed)
	f.mu.Unlock()
	delete(topics, f.spec.Commands)
	targets, err := f.log.Offsets(call, End(), topics)
	if err != nil {
		return false, fmt.Errorf("asking where the topics of outcomes end: %w", err)
	}
	for partition, offset := range candidates {
		targets[Partition{f.spec.Commands, partition}] = offset
	}
	if err := f.awaitPositions(call, targets); err != nil {
		return false, err
	}
	f.settle(candidates)
	return true, nil
}

// candidates returns the offsets below which commands are decided, if anyone who waits gains by settling them. For a
// partition that the group never committed, or whose commit has expired, what was seen of its outcomes counts.
func (f *Follower) candidates(committed map[int32]int64) map[int32]int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	decided := maps.Clone(f.highest)
	maps.Copy(decided, committed)
	for place, waits := range f.waits {
		if place.Offset < f.settled[place.Partition] || place.Offset >= decided[place.Partition] {
			continue
		}
		for _, w := range waits {
			if w.wanted {
				return decided
			}
		}
	}
	return nil
}

// awaitPositions waits until everything below the targets has been read.
func (f *Follower) awaitPositions(ctx context.Context, targets Positions) error {
	for {
		f.mu.Lock()
		done, moved := len(f.positions) > 0 && reached(f.positions, targets), f.moved
		f.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the topics of outcomes to be read: %w", ctx.Err())
		case <-moved:
		}
	}
}

func (f *Follower) settle(decided map[int32]int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for partition, offset := range decided {
		if offset <= f.settled[partition] {
			continue
		}
		f.settled[partition] = offset
	}
	for place, waits := range f.waits {
		if place.Offset >= f.settled[place.Partition] {
			continue
		}
		for _, w := range waits {
			w.notify()
		}
	}
}

// Settled returns the offset below which every command of the partition has all its outcome in the index.
func (f *Follower) Settled(partition int32) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.settled[partition]
}

// Within tells whether offsets of the commands' topic, by partition, are ones that the log has reached: its end counts. The
// log is asked only about what has not been read here, as another instance may be further. The error wraps ErrBeyond if
// there is no such partition or the log ends before; any other error means that it cannot be told now.
func (f *Follower) Within(ctx context.Context, offsets map[int32]int64) error {
	f.mu.Lock()
	var beyond []int32
	for number, offset := range offsets {
		if position, read := f.positions[Partition{f.spec.Commands, number}]; !read || offset > position {
			beyond = append(beyond, number)
		}
	}
	f.mu.Unlock()
	if len(beyond) == 0 {
		return nil
	}
	slices.Sort(beyond)
	topics, err := f.topics(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timing.Call)
	defer cancel()
	ends, err := f.log.Offsets(ctx, End(), map[string]Topic{f.spec.Commands: topics[f.spec.Commands]})
	if err != nil {
		return fmt.Errorf("asking where the topic of commands ends: %w", err)
	}
	for _, number := range beyond {
		end, exists := ends[Partition{f.spec.Commands, number}]
		if !exists {
			return fmt.Errorf("%w: %s has no partition %d", ErrBeyond, f.spec.Commands, number)
		}
		if offsets[number] > end {
			return fmt.Errorf("%w: %s/%d ends at %d, before %d", ErrBeyond, f.spec.Commands, number, end, offsets[number])
		}
	}
	return nil
}

// enter registers a wait. Whoever enters leaves.
func (f *Follower) enter(place Place) *wait {
	w := &wait{place: place, wake: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waits[place] = append(f.waits[place], w)
	return w
}

// want asks for silence to be looked into.
func (f *Follower) want(w *wait) {
	f.mu.Lock()
	w.wanted = true
	f.mu.Unlock()
	f.stir()
}

func (f *Follower) leave(w *wait) {
	f.mu.Lock()
	defer f.mu.Unlock()
	waits := slices.DeleteFunc(f.waits[w.place], func(other *wait) bool { return other == w })
	if len(waits) == 0 {
		delete(f.waits, w.place)
		return
	}
	f.waits[w.place] = waits
}

// Settling waits for commands to be settled without blocking: for whoever waits for several things at once.
type Settling struct {
	// C receives when one of the commands is settled; look at Settled then.
	C     <-chan struct{}
	f     *Follower
	waits []*wait
}

// Settling begins to wait; the caller gives the wait back with Leave.
func (f *Follower) Settling(places []Place) *Settling {
	wake := make(chan struct{}, 1)
	s := &Settling{C: wake, f: f}
	f.mu.Lock()
	for _, place := range places {
		w := &wait{place: place, wanted: true, wake: wake}
		f.waits[place] = append(f.waits[place], w)
		s.waits = append(s.waits, w)
		if f.settled[place.Partition] > place.Offset {
			w.notify()
		}
	}
	f.mu.Unlock()
	f.stir()
	return s
}

// Leave ends the wait.
func (s *Settling) Leave() {
	for _, w := range s.waits {
		s.f.leave(w)
	}
}

// SettledAll returns a copy of what Settled returns for every partition of which anything is settled.
func (f *Follower) SettledAll() map[int32]int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.settled)
}
