package views

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/membership"
	"github.com/tidemill/tidemill/internal/share"
)

const (
	// sharingTick is between looks at the copies: are they ready, may they go?
	sharingTick = 25 * time.Millisecond
	// unreadyAfter is for how long an owner's copy may be unreadable before the group is asked for another owner.
	unreadyAfter = 3 * time.Second
)

// lingering is for how long a partition that has gone elsewhere is held on: until every instance has heard of it, at its
// next heartbeat, and what was being asked is answered.
func (s *Sharing) lingering() time.Duration { return s.config.SessionTimeout / 3 }

func newNonce() string { return rand.Text() }

// run runs one of the views. The instance is a member of the group while all of them run.
func (s *Sharing) run(ctx context.Context, v *bridge.View) error {
	// The view outlives ctx until the group has been left: others take over while this one still answers.
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	ended := make(chan struct{})
	left := make(chan struct{})
	s.enter(cancel)
	go func() {
		defer close(left)
		select {
		case <-ctx.Done():
		case <-inner.Done():
		case <-ended:
		}
		s.leave()
		cancel(nil)
	}()
	err := v.Run(inner)
	close(ended)
	<-left
	if cause := context.Cause(inner); err == nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// enter notes that a view runs, and joins the group with the last one.
func (s *Sharing) enter(fail func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running++
	s.failures = append(s.failures, fail)
	if s.running < len(s.views) {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop, s.stopped = cancel, make(chan struct{})
	go func(stopped chan struct{}) {
		defer close(stopped)
		if err := s.keep(ctx); err != nil && ctx.Err() == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, fail := range s.failures {
				fail(err)
			}
		}
	}(s.stopped)
}

// leave notes that a view ends, and leaves the group with the first one.
func (s *Sharing) leave() {
	s.mu.Lock()
	stop, stopped := s.stop, s.stopped
	s.stop = nil
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	if stopped != nil {
		<-stopped
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running--; s.running == 0 {
		s.failures, s.draining = nil, false
	}
}

// keep is the instance's part in the group, until ctx ends or something only an operator can mend.
func (s *Sharing) keep(ctx context.Context) error {
	unregister, err := s.metrics.register()
	if err != nil {
		return fmt.Errorf("registering the metrics of sharing group %s: %w", s.config.Group, err)
	}
	defer unregister()
	partitions, err := s.prepare(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	member := membership.New(membership.Config{
		Group: s.config.Group, Instance: s.config.Instance, Session: s.config.SessionTimeout, Client: clients(s.config.Log),
		Describe: func() share.Member { return s.describe(partitions) },
		Deliver:  s.deliver,
		Logger:   s.config.Logger,
	})
	s.mu.Lock()
	s.member = member
	s.mu.Unlock()
	defer s.looking.Wait()
	defer s.forget()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.looking.Go(func() { s.watch(ctx) })
	ended := make(chan error, 1)
	go func() { ended <- member.Run(ctx) }()
	ticker := time.NewTicker(sharingTick)
	defer ticker.Stop()
	unready := make(map[int32]time.Time)
	var looked time.Time
	for {
		select {
		case err := <-ended:
			return err
		case now := <-ticker.C:
			if slices.ContainsFunc(s.all(), func(v *bridge.View) bool { n := v.Partitions(); return n != 0 && n != partitions }) {
				cancel()
				return errors.Join(fmt.Errorf("%w: the changelogs' number of partitions is not %d any more; start the view again", ErrConfig, partitions), <-ended)
			}
			s.letGo(now)
			if now.Sub(looked) >= ageTick {
				looked = now
				s.lookAfter(ctx, partitions, now)
			}
			if s.newsOf(now, unready) || s.tiedAnew() {
				member.Announce()
			}
		}
	}
}

// prepare waits until the views know their partitions and the instance is reachable.
func (s *Sharing) prepare(ctx context.Context) (partitions int32, err error) {
	views := s.all()
	for partitions == 0 {
		partitions = views[0].Partitions()
		for i, v := range views {
			switch n := v.Partitions(); {
			case n == 0:
				partitions = 0
			case partitions != 0 && n != partitions:
				return 0, fmt.Errorf("%w: %s has %d partitions and %s has %d; views that are shared out together need as many each", ErrConfig, s.topics[0], partitions, s.topics[i], n)
			}
		}
		if partitions == 0 && !pause(ctx, sharingTick) {
			return 0, nil
		}
	}
	deadline := time.Now().Add(s.config.ReachableIn)
	for wait := sharingTick; ; wait = min(2*wait, time.Second) {
		err := s.reach(ctx, s.config.URL)
		switch {
		case err == nil:
			return partitions, nil
		case ctx.Err() != nil:
			return 0, nil
		case time.Now().After(deadline):
			return 0, fmt.Errorf("%w: %w; serve Sharing at %s there, or correct SharingConfig.URL", ErrUnreachable, err, s.Path())
		}
		if !pause(ctx, wait) {
			return 0, nil
		}
	}
}

// status asks the instance at a URL for its status.
func (s *Sharing) status(ctx context.Context, base string) (status sharingStatus, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+s.Path(), nil)
	if err != nil {
		return status, err
	}
	response, err := s.probe.Do(request)
	if err != nil {
		return status, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(io.LimitReader(response.Body, 16<<20)).Decode(&status); err != nil || response.StatusCode != http.StatusOK {
		return status, fmt.Errorf("%s answers with status %d, and not as an instance of the group", base+s.Path(), response.StatusCode)
	}
	return status, nil
}

// reach asks who answers at a URL, and returns nil if it is this process.
func (s *Sharing) reach(ctx context.Context, base string) error {
	status, err := s.status(ctx, base)
	if err != nil {
		return err
	}
	if status.Process != s.nonce {
		return fmt.Errorf("at %s answers another process, the instance %q of group %q: two instances advertise the same URL", base, status.Instance, status.Group)
	}
	return nil
}

func pause(ctx context.Context, wait time.Duration) bool {
	select {
	case <-time.After(wait):
		return true
	case <-ctx.Done():
		return false
	}
}

// memberships returns the further groups that this process is a member of.
func (s *Sharing) memberships() []Membership {
	if s.config.Memberships == nil {
		return nil
	}
	return s.config.Memberships()
}

// tiedAnew reports whether the group should hear of further groups that this process is a member of.
func (s *Sharing) tiedAnew() bool {
	tied := s.memberships()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current != nil && !slices.Equal(tied, s.tied)
}

// describe says what this instance has. A copy is ready when every view's is.
func (s *Sharing) describe(partitions int32) share.Member {
	tied := s.memberships()
	s.mu.Lock()
	defer s.mu.Unlock()
	member := share.Member{
		Instance: s.config.Instance, URL: s.config.URL, Scope: s.scope(), Partitions: partitions,
		Standbys: s.config.Standbys, Capacity: s.config.Capacity, Draining: s.draining,
	}
	s.tied = tied
	for _, t := range tied {
		member.Memberships = append(member.Memberships, share.Membership(t))
	}
	if s.current != nil {
		member.Generation = s.current.Generation
		member.Owned, member.Standby = s.current.With(s.config.Instance, share.Owner), s.current.With(s.config.Instance, share.Standby)
	}
	copies := make(map[int32]*share.Copy)
	count := make(map[int32]int)
	for _, v := range s.views {
		for _, c := range v.Copies() {
			merged := copies[c.Partition]
			if merged == nil {
				merged = &share.Copy{Partition: c.Partition, Ready: true}
				copies[c.Partition] = merged
			}
			merged.Ready = merged.Ready && c.Ready
			merged.Position += c.Position
			count[c.Partition]++
		}
	}
	clear(s.told)
	for number := range partitions {
		merged := copies[number]
		if merged == nil {
			continue
		}
		merged.Ready = merged.Ready && count[number] == len(s.views)
		s.told[number] = merged.Ready
		member.Copies = append(member.Copies, *merged)
		if _, kept := s.leftover[number]; !kept && s.holds[number] == nil {
			s.leftover[number] = time.Now().Add(s.config.KeepCopies)
		}
	}
	return member
}

// scope says what is shared out. The caller holds mu.
func (s *Sharing) scope() string {
	topics := slices.Clone(s.topics)
	slices.Sort(topics)
	return strings.Join(topics, ",")
}

// deliver takes the map of a generation.
func (s *Sharing) deliver(next share.Map) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for number := range int32(len(next.Partitions)) {
		role := next.Role(number, s.config.Instance)
		if role != share.Owner {
			delete(s.since, number)
		} else if _, owned := s.since[number]; !owned {
			s.since[number] = now
		}
		hold := s.holds[number]
		switch {
		case role != share.None && hold == nil:
			ctx, end := context.WithCancel(context.Background())
			s.holds[number] = &holdOf{ctx: ctx, end: end}
			delete(s.leftover, number)
		case role != share.None:
			hold.until = time.Time{}
		case hold != nil && hold.until.IsZero():
			hold.until = now.Add(s.lingering())
		}
	}
	s.log.Info("partitions assigned", "generation", next.Generation, "instances", len(next.Instances),
		"owned", next.With(s.config.Instance, share.Owner), "standby", next.With(s.config.Instance, share.Standby), "warming", next.With(s.config.Instance, share.Warming))
	s.current = &next
	close(s.changed)
	s.changed = make(chan struct{})
	s.metrics.assigned.Inc()
	s.hold()
}

// hold tells the views what to hold. The caller holds mu.
func (s *Sharing) hold() {
	numbers := make([]int32, 0, len(s.holds))
	for number := range s.holds {
		numbers = append(numbers, number)
	}
	for _, v := range s.views {
		v.Hold(numbers)
	}
}

// letGo closes copies that have gone elsewhere a while ago, and removes those that did long ago.
func (s *Sharing) letGo(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := false
	for number, hold := range s.holds {
		if !hold.until.IsZero() && now.After(hold.until) {
			hold.end()
			delete(s.holds, number)
			s.leftover[number] = now.Add(s.config.KeepCopies)
			changed = true
		}
	}
	if changed {
		s.hold()
	}
	for number, until := range s.leftover {
		if now.After(until) {
			delete(s.leftover, number)
			for _, v := range s.views {
				v.Discard(number)
			}
		}
	}
}

// newsOf reports whether the group should hear of something: a copy that is warming up has become ready, or one that is
// owned cannot be read for a while although others could.
func (s *Sharing) newsOf(now time.Time, unready map[int32]time.Time) (news bool) {
	s.mu.Lock()
	current, told := s.current, make(map[int32]bool)
	for number, ready := range s.told {
		told[number] = ready
	}
	s.mu.Unlock()
	if current == nil {
		return false
	}
	for number := range int32(len(current.Partitions)) {
		switch ready := s.held(number); current.Role(number, s.config.Instance) {
		case share.Warming:
			news = news || (ready && !told[number])
		case share.Owner:
			if since, waits := unready[number]; ready || len(current.Partitions[number].Standbys) == 0 {
				delete(unready, number)
			} else if !waits {
				unready[number] = now
			} else if now.Sub(since) > unreadyAfter {
				unready[number] = now
				news = true
			}
		}
	}
	return news
}

// forget ends what belongs to the membership. The last map stays: where others are is known by it still.
func (s *Sharing) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.member = nil
	close(s.changed)
	s.changed = make(chan struct{})
	for _, hold := range s.holds {
		hold.end()
	}
	clear(s.holds)
	clear(s.since)
	clear(s.leftover)
}
