package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/share"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

const (
	patient = 40 * time.Second
	session = 6 * time.Second // the least that a broker allows as it comes
)

// group is a group under test.
type group struct {
	broker kafkatest.Broker
	name   string
}

func newGroup(t testing.TB, b kafkatest.Broker) *group { return &group{b, b.Name(t)} }

// process is one member with what it is given.
type process struct {
	*Member
	name   string
	ended  chan error // of capacity 1
	cancel context.CancelFunc
	cut    atomic.Bool // it reaches no broker any more

	mu          sync.Mutex
	described   share.Member  // guarded by mu
	maps        []share.Map   // guarded by mu
	connections []net.Conn    // guarded by mu
	changed     chan struct{} // guarded by mu: closed with the next map
}

// join runs a member until the test ends.
func (g *group) join(t testing.TB, name string, change ...func(*share.Member, *Config)) *process {
	t.Helper()
	p := &process{name: name, ended: make(chan error, 1), changed: make(chan struct{})}
	p.described = share.Member{Instance: name, URL: "http://" + name, Scope: "rows", Partitions: 6, Capacity: 1}
	for number := range int32(6) {
		p.described.Copies = append(p.described.Copies, share.Copy{Partition: number, Ready: true})
	}
	config := Config{
		Group: g.name, Instance: name, Session: session, Logger: slog.New(slog.DiscardHandler),
		Client: func(options ...kgo.Opt) (*kgo.Client, error) {
			return kgo.NewClient(append(options, kgo.SeedBrokers(g.broker.Addr()), kgo.Dialer(p.dial))...)
		},
		Describe: func() share.Member {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.described
		},
		Deliver: func(m share.Map) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.maps = append(p.maps, m)
			close(p.changed)
			p.changed = make(chan struct{})
		},
	}
	for _, apply := range change {
		apply(&p.described, &config)
	}
	p.Member = New(config)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	var run sync.WaitGroup
	run.Go(func() { p.ended <- p.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		run.Wait()
	})
	return p
}

func (p *process) dial(ctx context.Context, network, host string) (net.Conn, error) {
	connection, err := (&net.Dialer{}).DialContext(ctx, network, host)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut.Load() {
		connection.Close()
		return nil, errors.New("the network is gone")
	}
	p.connections = append(p.connections, connection)
	return connection, nil
}

// lose takes the network from a member, which is what its death looks like to others.
func (p *process) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut.Store(true)
	for _, connection := range p.connections {
		connection.Close()
	}
}

// last returns the last map, and a channel that is closed with the next one.
func (p *process) last() (share.Map, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.maps) == 0 {
		return share.Map{}, p.changed
	}
	return p.maps[len(p.maps)-1], p.changed
}

// stop leaves the group.
func (p *process) stop(t testing.TB) {
	t.Helper()
	p.cancel()
	if err := p.end(t); err != nil {
		t.Fatalf("%s ended with %v", p.name, err)
	}
}

// end waits until the member has ended by itself.
func (p *process) end(t testing.TB) error {
	t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(patient):
		t.Fatalf("%s does not end", p.name)
		return nil
	}
}

// agree waits until all of them have the same map, of exactly them.
func agree(t testing.TB, processes ...*process) share.Map {
	t.Helper()
	var names []string
	for _, p := range processes {
		names = append(names, p.name)
	}
	slices.Sort(names)
	deadline := time.After(patient)
	for {
		var first share.Map
		var changed <-chan struct{}
		same := true
		for i, p := range processes {
			current, next := p.last()
			var has []string
			for _, instance := range current.Instances {
				has = append(has, instance.Name)
			}
			if i == 0 {
				first = current
			}
			if !slices.Equal(has, names) || current.Generation != first.Generation {
				same, changed = false, next
				break
			}
		}
		if same {
			return first
		}
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond): // it may have been another one's map
		case <-deadline:
			t.Fatalf("%v do not agree", names)
		}
	}
}

// All members get the same map; who leaves is gone at once, and who dies after the session time-out, not before.
func TestMembersAgree(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		g := newGroup(t, b)
		first := g.join(t, "first")
		alone := agree(t, first)
		if owned := alone.With("first", share.Owner); len(owned) != 6 {
			t.Fatalf("alone it owns %v", owned)
		}
		second, third := g.join(t, "second"), g.join(t, "third")
		together := agree(t, first, second, third)
		for _, p := range []*process{first, second, third} {
			if owned := together.With(p.name, share.Owner); len(owned) != 2 {
				t.Fatalf("%s owns %v", p.name, owned)
			}
			if confirmed := time.Since(p.Confirmed()); confirmed > session {
				t.Fatalf("%s was confirmed %v ago", p.name, confirmed)
			}
		}
		if together.Generation <= alone.Generation {
			t.Fatalf("generation %d comes after %d", together.Generation, alone.Generation)
		}
		began := time.Now()
		third.stop(t)
		agree(t, first, second)
		left := time.Since(began)
		second.lose()
		began = time.Now()
		second.cancel()
		agree(t, first)
		died := time.Since(began)
		t.Logf("the others had a new map %v after one left, and %v after one died", left.Round(time.Millisecond), died.Round(time.Millisecond))
		if died < session/3 {
			t.Errorf("a dead member was given up after %v", died)
		}
		if left > died {
			t.Errorf("leaving took %v and dying %v", left, died)
		}
	})
}

// A member that comes back under its name within the session time-out takes its own place: the one that it was is not
// waited for.
func TestMemberComesBack(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		g := newGroup(t, b)
		first, second := g.join(t, "first"), g.join(t, "second")
		agree(t, first, second)
		second.lose()
		second.cancel()
		again := g.join(t, "second")
		current := agree(t, first, again)
		if len(current.With("second", share.Owner)) != 3 {
			t.Fatalf("it owns %v", current.With("second", share.Owner))
		}
	})
}

// News of one member reaches all, with a new generation; many at once make few.
func TestAnnounce(t *testing.T) {
	g := newGroup(t, kafkatest.Embedded(t))
	first, second := g.join(t, "first"), g.join(t, "second")
	before := agree(t, first, second)
	second.mu.Lock()
	second.described.Draining = true
	second.mu.Unlock()
	for range 1000 {
		second.Announce()
	}
	deadline := time.Now().Add(patient)
	for {
		current, changed := first.last()
		if owned := current.With("first", share.Owner); len(owned) == 6 {
			if current.Generation > before.Generation+5 {
				t.Fatalf("1,000 news at once made %d generations", current.Generation-before.Generation)
			}
			return
		}
		select {
		case <-changed:
		case <-time.After(time.Until(deadline)):
			t.Fatalf("the draining member still has %v", current.With("second", share.Owner))
		}
	}
}

// TestLateJoin: a join under a member's name that nobody stands behind, as one that comes late, does not end the member.
func TestLateJoin(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		g := newGroup(t, b)
		first := g.join(t, "first")
		before := agree(t, first)
		name := "first"
		described := first.described
		metadata, err := described.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		protocol := kmsg.NewJoinGroupRequestProtocol()
		protocol.Name, protocol.Metadata = share.Protocol, metadata
		request := kmsg.NewPtrJoinGroupRequest()
		request.Group, request.InstanceID, request.ProtocolType = g.name, &name, share.ProtocolType
		request.SessionTimeoutMillis, request.RebalanceTimeoutMillis = int32(session.Milliseconds()), int32(rebalanceTimeout.Milliseconds())
		request.Protocols = append(request.Protocols, protocol)
		late, err := request.RequestWith(t.Context(), b.Client(t))
		if err == nil {
			err = kerr.ErrorForCode(late.ErrorCode)
		}
		if err != nil {
			t.Fatal(err)
		}
		first.Announce() // to meet the other one now
		deadline := time.Now().Add(patient)
		for {
			current, changed := first.last()
			if current.Generation > before.Generation && current.Refused == nil {
				break
			}
			select {
			case <-changed:
			case err := <-first.ended:
				t.Fatalf("it has ended: %v", err)
			case <-time.After(time.Until(deadline)):
				t.Fatalf("its last generation is %d, that before was %d", current.Generation, before.Generation)
			}
		}
	})
}

// What only an operator can mend ends Run with an error that says so.
func TestRefusals(t *testing.T) {
	b := kafkatest.Real(t)
	t.Run("another process under the same name", func(t *testing.T) {
		g := newGroup(t, b)
		first := g.join(t, "same")
		agree(t, first)
		g.join(t, "same", func(m *share.Member, _ *Config) { m.URL = "http://other" })
		if err := first.end(t); !errors.Is(err, ErrFenced) {
			t.Fatal(err)
		}
	})
	for name, change := range map[string]func(*share.Member, *Config){
		"the same URL":        func(m *share.Member, _ *Config) { m.URL = "http://first" },
		"another scope":       func(m *share.Member, _ *Config) { m.Scope = "other rows" },
		"metadata of no kind": func(m *share.Member, _ *Config) { m.Capacity = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, b)
			first := g.join(t, "first")
			agree(t, first)
			if err := g.join(t, "second", change).end(t); !errors.Is(err, ErrRefused) {
				t.Fatal(err)
			}
			agree(t, first)
		})
	}
	for name, timeout := range map[string]time.Duration{"a session too short": 100 * time.Millisecond, "a session too long": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			err := newGroup(t, b).join(t, "first", func(_ *share.Member, c *Config) { c.Session = timeout }).end(t)
			if !errors.Is(err, ErrGroup) {
				t.Fatal(err)
			}
		})
	}
	t.Run("a group of consumers", func(t *testing.T) {
		g := newGroup(t, b)
		topic := b.Name(t)
		b.CreateTopic(t, topic, 1, nil)
		consumer := b.Client(t, kgo.ConsumerGroup(g.name), kgo.ConsumeTopics(topic))
		joined := make(chan struct{})
		go func() {
			defer close(joined)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			consumer.PollFetches(ctx) // joins by the way
		}()
		<-joined
		if err := g.join(t, "first").end(t); !errors.Is(err, ErrGroup) {
			t.Fatal(err)
		}
		consumer.Close()
	})
	t.Run("no group name", func(t *testing.T) {
		g := &group{b, ""}
		if err := g.join(t, "first").end(t); !errors.Is(err, ErrGroup) {
			t.Fatal(err)
		}
	})
}

// While the brokers are away the last map stays, and the membership is confirmed again when they are back.
func TestBrokersAway(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, broker *kafkatest.Process) {
		g := newGroup(t, broker.Broker)
		first, second := g.join(t, "first"), g.join(t, "second")
		before := agree(t, first, second)
		broker.Kill9(t)
		time.Sleep(time.Second)
		if current, _ := first.last(); len(current.Instances) != 2 || current.Generation != before.Generation {
			t.Fatalf("with the brokers away the map became %+v", current)
		}
		back := time.Now()
		broker.Start(t)
		agree(t, first, second)
		for _, p := range []*process{first, second} {
			deadline := time.Now().Add(patient)
			for !p.Confirmed().After(back) {
				if time.Now().After(deadline) {
					t.Fatalf("%s is not confirmed any more", p.name)
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
		first.stop(t)
		second.stop(t)
	})
}

// A member that does not speak the language of the others is refused, and they go on.
func TestStrangers(t *testing.T) {
	b := kafkatest.Embedded(t)
	g := newGroup(t, b)
	first := g.join(t, "first")
	agree(t, first)
	client := b.Client(t)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = share.Protocol, []byte("good morning")
	id := ""
	for joined := false; !joined; {
		request := kmsg.NewPtrJoinGroupRequest()
		request.Group, request.MemberID, request.SessionTimeoutMillis, request.RebalanceTimeoutMillis = g.name, id, 6000, 6000
		request.ProtocolType, request.Protocols = share.ProtocolType, []kmsg.JoinGroupRequestProtocol{protocol}
		response, err := request.RequestWith(ctx, client)
		if err != nil {
			t.Fatal(err)
		}
		id, joined = response.MemberID, response.ErrorCode == 0
	}
	agree(t, first) // it takes part in nothing
}

// Random members come, go, die and have news; whoever is left agrees in the end, and each partition has one owner.
func TestChurn(t *testing.T) {
	g := newGroup(t, kafkatest.Embedded(t))
	shorter := func(_ *share.Member, c *Config) { c.Session = time.Second }
	alive := map[string]*process{}
	for round := range 6 {
		for n := range 3 {
			name := fmt.Sprintf("m%d", (round*2+n)%5)
			switch p := alive[name]; {
			case p == nil:
				alive[name] = g.join(t, name, shorter)
			case n == 0:
				p.lose()
				p.cancel()
				delete(alive, name)
			case n == 1:
				p.stop(t)
				delete(alive, name)
			default:
				p.Announce()
			}
		}
		var processes []*process
		for _, p := range alive {
			processes = append(processes, p)
		}
		if len(processes) == 0 {
			continue
		}
		current := agree(t, processes...)
		for number, holders := range current.Partitions {
			if alive[holders.Owner] == nil {
				t.Fatalf("round %d: partition %d is owned by %q", round, number, holders.Owner)
			}
		}
	}
}
