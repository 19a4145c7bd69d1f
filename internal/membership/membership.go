// Package membership keeps an instance a member of a consumer group that is used for nothing but sharing out partitions:
// it says what the instance has, computes the map where the instance is the leader, and hands on the map of every
// generation. No offset is ever committed in such a group, and no record read.
//
// It speaks Kafka's classic group protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup) by hand, with a protocol type of its own: the
// consumer's protocol has no room for who else has what, and would stop reading while the group rebalances. Here nobody
// stops: the last map holds until there is a new one, and while the brokers are away.
package membership

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/share"
)

// The errors of membership that only an operator can mend. They come wrapped with what was being done.
var (
	// ErrFenced says that another process has joined under this instance's name.
	ErrFenced = errors.New("another process has joined as this instance")
	// ErrRefused says that the group's leader does not let this instance take part.
	ErrRefused = errors.New("the group refuses this instance")
	// ErrGroup says that the group cannot be used for this.
	ErrGroup = errors.New("the group cannot be used")
)

const (
	callTimeout = 5 * time.Second
	// rebalanceTimeout is how long the coordinator waits for members that are alive to join again.
	rebalanceTimeout = 5 * time.Second
	leaveTimeout     = 2 * time.Second
	backoffMin       = 50 * time.Millisecond
	backoffMax       = time.Second
	// settle is how long news of this instance may gather before the group hears of it.
	settle = 100 * time.Millisecond
)

// Config says what a Member is a member of.
type Config struct {
	Group    string
	Instance string // the static member's name (KIP-345): a restart takes its own place again
	// Session is how long the coordinator waits for a heartbeat before it gives the instance up.
	Session time.Duration
	Client  func(options ...kgo.Opt) (*kgo.Client, error)
	// Describe returns what this instance has now. It is called by Run's goroutine.
	Describe func() share.Member
	// Deliver takes the map of a generation. It is called by Run's goroutine and must not block.
	Deliver func(share.Map)
	Logger  *slog.Logger
}

// Member is an instance's membership. Its methods are safe for concurrent use.
type Member struct {
	config Config
	log    *slog.Logger
	news   chan struct{} // of capacity 1: Describe has something new to say

	mu   sync.Mutex
	seen time.Time // guarded by mu: when the coordinator last confirmed the membership

	id         string // owned by Run's goroutine
	generation int32  // owned by Run's goroutine
}

// New returns a member that has not joined.
func New(config Config) *Member {
	return &Member{
		config: config,
		log:    cmp.Or(config.Logger, slog.Default()).With("group", config.Group, "instance", config.Instance),
		news:   make(chan struct{}, 1),
	}
}

// Announce has the group hear of what has changed here. It never blocks.
func (m *Member) Announce() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// Confirmed returns when the coordinator last confirmed the membership; the zero time is never.
func (m *Member) Confirmed() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen
}

func (m *Member) confirm() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = time.Now()
}

// Run is a member until ctx ends, then leaves and returns nil. It goes on by itself while brokers are away. It returns
// an error that wraps ErrFenced, ErrRefused or ErrGroup for what only an operator can mend, or the broker's refusal of the
// credentials.
func (m *Member) Run(ctx context.Context) error {
	client, err := m.config.Client(kgo.ClientID("tidemill-share-"+m.config.Instance), kgo.MetadataMinAge(100*time.Millisecond), kgo.RetryTimeout(callTimeout))
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer client.Close()
	defer m.leave(client)
	backoff := backoffMin
	for ctx.Err() == nil {
		err := m.serve(ctx, client)
		if errors.Is(err, ErrFenced) {
			err = m.confirmFenced(ctx, client, err)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			backoff = backoffMin
			continue
		case fatal(err):
			return fmt.Errorf("sharing in group %s as %s: %w", m.config.Group, m.config.Instance, err)
		}
		m.log.Warn("the group that shares out partitions cannot be reached; the last assignment holds", "error", err)
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, backoffMax)
	}
	return nil
}

// confirmFenced returns an error of ErrFenced as it is if another process does live under this instance's name, and another
// error if joining again mends it.
func (m *Member) confirmFenced(ctx context.Context, client *kgo.Client, err error) error {
	m.log.Warn("another member of the group has this instance's name; looking whether a process is behind it")
	if _, stays := log.StaysJoined(ctx, client, m.config.Group, m.config.Instance, m.config.Session); stays {
		return err
	}
	m.id = ""
	return fmt.Errorf("no process is behind the member that had taken the name %s", m.config.Instance)
}

// fatal reports whether trying again is of no use.
func fatal(err error) bool {
	for _, known := range []error{
		ErrFenced, ErrRefused, ErrGroup, kerr.GroupAuthorizationFailed, kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// serve is one generation: it joins, takes the map, and keeps the membership until the group or this instance has news.
func (m *Member) serve(ctx context.Context, client *kgo.Client) error {
	select {
	case <-m.news: // what there is to say is said now
	default:
	}
	joined, err := m.join(ctx, client)
	if err != nil || joined == nil {
		return err
	}
	current, err := m.sync(ctx, client, joined)
	if err != nil || current == nil {
		return err
	}
	if reason := current.Refused[m.id]; reason != "" {
		return fmt.Errorf("%w: %s", ErrRefused, reason)
	}
	m.config.Deliver(*current)
	return m.keep(ctx, client)
}

// keep sends heartbeats until there is a reason to join again: then it returns nil, or what went wrong.
func (m *Member) keep(ctx context.Context, client *kgo.Client) error {
	ticker := time.NewTicker(m.interval())
	defer ticker.Stop()
	var announce <-chan time.Time
	news := m.news
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-announce:
			return nil
		case <-news:
			announce, news = time.After(settle), nil // whoever has one thing to say often has another at once
		case <-ticker.C:
			again, err := m.heartbeat(ctx, client)
			if again || err != nil {
				return err
			}
		}
	}
}

// interval is the time between two heartbeats.
func (m *Member) interval() time.Duration { return max(m.config.Session/20, 50*time.Millisecond) }

// waiting sends heartbeats while a call is under way that waits for other members, until the function that it returns is
// called. Kafka gives up no member that waits; the embedded broker does after the session time-out, and never answers what the
// member waits for. So it is told that the member lives; and where it has given the member up all the same, the context ends
// and the function returns true.
func (m *Member) waiting(ctx context.Context, client *kgo.Client) (called context.Context, waited func() (forgotten bool)) {
	if m.id == "" {
		return ctx, func() bool { return false } // the coordinator has nobody yet to give up
	}
	called, cancel := context.WithCancel(ctx)
	id, generation := m.id, m.generation
	forgotten := make(chan bool, 1)
	go func() {
		ticker := time.NewTicker(m.interval())
		defer ticker.Stop()
		for {
			select {
			case <-called.Done():
				forgotten <- false
				return
			case <-ticker.C:
			}
			// What else it may say the call is told too, and what does not come through is said again.
			answer, _ := m.beat(called, client, id, generation)
			if errors.Is(answer, kerr.UnknownMemberID) {
				cancel()
				forgotten <- true
				return
			}
		}
	}()
	return called, func() bool {
		cancel()
		return <-forgotten
	}
}
