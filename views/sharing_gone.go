package views

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/share"
)

const (
	// goneLook is between two looks at an instance.
	goneLook = 250 * time.Millisecond
	// goneAfter is for how long an instance must have refused connections to be taken for gone: a process that is started again
	// listens sooner.
	goneAfter = 750 * time.Millisecond
	// goneTimeout bounds how long its groups are told.
	goneTimeout = 2 * time.Second
	// goneWatchers is how many instances watch each one.
	goneWatchers = 2
)

// Membership is a static member of a consumer group (KIP-345).
type Membership struct {
	// Group is the consumer group, Instance its member's group instance id.
	Group, Instance string
}

// neighbour is another instance that this one watches: whether its process is gone. The watching goroutine has it for itself.
type neighbour struct {
	seen    bool      // it has answered since it was last taken for gone
	refused time.Time // since when it has refused connections; zero if it has not
}

// watch takes instances whose processes are gone out of the groups that they were members of (SharingConfig.Memberships), so
// that those need not wait for the session time-out. Gone is who has answered, and then refuses connections for a while:
// its machine lives, and nobody listens there. A machine that is silent proves nothing. To be wrong about it costs that member a rebalance
// and no more, as after a session time-out: what it commits is refused, and it joins again. It is not removed again before it has answered.
func (s *Sharing) watch(ctx context.Context) {
	neighbours := make(map[string]*neighbour)
	ticker := time.NewTicker(goneLook)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		watched := s.watched()
		for name := range neighbours {
			if !slices.ContainsFunc(watched, func(i share.Instance) bool { return i.Name == name }) {
				delete(neighbours, name)
			}
		}
		var group sync.WaitGroup
		for _, instance := range watched {
			if neighbours[instance.Name] == nil {
				neighbours[instance.Name] = &neighbour{}
			}
			n := neighbours[instance.Name]
			group.Go(func() { s.lookAt(ctx, instance, n) })
		}
		group.Wait()
	}
}

// watched returns the instances that this one watches: those that come next by their names, as far as they are members of
// further groups.
func (s *Sharing) watched() (watched []share.Instance) {
	current, _ := s.now()
	if current == nil {
		return nil
	}
	self := slices.IndexFunc(current.Instances, func(i share.Instance) bool { return i.Name == s.config.Instance })
	if self < 0 {
		return nil
	}
	for next := range min(goneWatchers, len(current.Instances)-1) {
		if i := current.Instances[(self+1+next)%len(current.Instances)]; len(i.Memberships) > 0 {
			watched = append(watched, i)
		}
	}
	return watched
}

// lookAt looks at an instance once.
func (s *Sharing) lookAt(ctx context.Context, instance share.Instance, n *neighbour) {
	now := time.Now()
	refused, err := s.refuses(ctx, instance.URL)
	switch {
	case err == nil:
		n.seen, n.refused = true, time.Time{}
	case !refused:
		n.refused = time.Time{}
	case n.refused.IsZero():
		n.refused = now
	}
	if !n.seen || n.refused.IsZero() || time.Since(n.refused) < goneAfter {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	if err := s.remove(ctx, instance); err != nil {
		if ctx.Err() == nil {
			s.log.Warn("an instance is gone, and its groups could not be told; they find out by themselves", "gone", instance.Name, "error", err)
		}
		return
	}
	n.seen = false
}

// refuses asks an instance for its status, and reports whether nobody listens at its URL.
func (s *Sharing) refuses(ctx context.Context, base string) (refused bool, err error) {
	_, err = s.status(ctx, base)
	return errors.Is(err, syscall.ECONNREFUSED), err
}

// remove takes an instance out of its groups, if nobody listens at its URL still. The members that are looked up before are those of
// the process that is gone: one that is started again listens before it joins.
func (s *Sharing) remove(ctx context.Context, instance share.Instance) error {
	admin, err := log.NewAdmin(s.config.Log)
	if err != nil {
		return err
	}
	defer admin.Close()
	ids := make(map[string]string)
	for _, membership := range instance.Memberships {
		_, members, err := admin.GroupMembers(ctx, membership.Group)
		if err != nil {
			return err
		}
		for _, member := range members {
			if member.InstanceID == membership.Instance {
				ids[membership.Group] = member.ID
			}
		}
	}
	if refused, _ := s.refuses(ctx, instance.URL); !refused {
		return nil
	}
	for _, membership := range instance.Memberships {
		id := ids[membership.Group]
		if id == "" {
			continue
		}
		if err := admin.RemoveStaticMember(ctx, membership.Group, membership.Instance, id); err != nil {
			return fmt.Errorf("removing %s from group %s: %w", membership.Instance, membership.Group, err)
		}
		s.log.Info("an instance is gone; it was taken out of a group, whose other members take its partitions over", "gone", instance.Name, "from", membership.Group)
	}
	return nil
}

// SharingInstances returns the names of the instances that share views out in a group now, in no order: none where nobody does.
func SharingInstances(ctx context.Context, config LogConfig, group string) (names []string, err error) {
	admin, err := log.NewAdmin(config)
	if err != nil {
		return nil, fmt.Errorf("looking at sharing group %s: %w", group, err)
	}
	defer admin.Close()
	_, members, err := admin.GroupMembers(ctx, group)
	if err != nil {
		return nil, fmt.Errorf("looking at sharing group %s: %w", group, err)
	}
	for _, member := range members {
		names = append(names, member.InstanceID)
	}
	return names, nil
}
