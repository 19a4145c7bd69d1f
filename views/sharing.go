package views

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/forward"
	"github.com/tidemill/tidemill/internal/membership"
	"github.com/tidemill/tidemill/internal/share"
)

// The errors of sharing a view out. They come wrapped with what was being done; test for them with errors.Is.
var (
	// ErrElsewhere says that another instance holds the partition that was asked for. It is an ErrNotReady.
	ErrElsewhere = bridge.ErrViewElsewhere
	// ErrUnreachable says that the advertised URL does not lead back to this instance.
	ErrUnreachable = errors.New("the advertised URL does not lead to this instance")
	// ErrFenced says that another process has joined the group as this instance.
	ErrFenced = membership.ErrFenced
	// ErrRefused says that the group does not let this instance take part: another one has the same URL, or the group shares
	// out something else.
	ErrRefused = membership.ErrRefused
	// ErrGroup says that the group's name belongs to consumers of another kind, or the brokers refuse the session time-out.
	ErrGroup = membership.ErrGroup
)

// What the zero values of SharingConfig stand for.
const (
	DefaultSessionTimeout = 6 * time.Second
	DefaultMaxStaleness   = time.Minute
	DefaultKeepCopies     = 10 * time.Minute
	DefaultReachableIn    = 15 * time.Second
)

// SharingConfig says how views are shared out over instances.
type SharingConfig struct {
	// Group is the consumer group in which the instances find each other. It is used for nothing else: no offset is committed
	// in it, and no consumer may have its name.
	Group string
	// URL is where other instances reach this one, such as "http://10.0.0.7:9002": scheme, host and port, no path. It must be
	// each instance's own.
	URL string
	// Instance names the instance over restarts; "" derives it from the URL. One that comes back under its name within the
	// session time-out takes its own place again.
	Instance string
	// Standbys is how many further instances keep a copy of each partition that takes over without a restore; 0 is none.
	Standbys int
	// Capacity is the instance's share of the partitions relative to others'; 0 means 1.
	Capacity int
	// SessionTimeout is how long the group waits for a sign of life before it gives an instance's partitions to others; 0
	// means DefaultSessionTimeout, the least that Kafka's brokers allow by default. Queries do not wait for it where there
	// is a standby.
	SessionTimeout time.Duration
	// MaxStaleness bounds how old an owner's answer may be when a query names no bound and the brokers cannot be
	// reached; 0 means DefaultMaxStaleness.
	MaxStaleness time.Duration
	// KeepCopies is for how long a copy that has gone elsewhere is kept on the disk, should it come back; 0 means
	// DefaultKeepCopies.
	KeepCopies time.Duration
	// ReachableIn bounds how long the instance may take to be reachable at its URL; 0 means DefaultReachableIn.
	ReachableIn time.Duration
	// Memberships returns the consumer groups that this process is a static member of for as long as it lives, beside this one, such
	// as those of a processor that does not keep its partitions (processors.LeaveGroup). Other instances take it out of them when its process
	// is gone, which they tell by its URL: it refuses connections for most of a second. So the partitions move without waiting
	// for the session time-out. It is called often, by one goroutine; nil is none.
	Memberships func() []Membership
	// Transport carries requests between instances; nil is one with short dials, open connections and no proxy. Set it for a
	// private certificate authority or client certificates.
	Transport http.RoundTripper
	// Log says how to reach the brokers.
	Log LogConfig
	// Logger gets what an operator should know; nil means slog's default.
	Logger *slog.Logger
	// Metrics, where not nil, has the metrics of sharing while the views run.
	Metrics prometheus.Registerer
}

// Sharing shares views out over the instances of a service by partition: each partition has an owner that answers for
// it, and standbys that can. Give one Sharing to all views of a process that shall hold the same partitions; their changelogs have the
// same number of partitions. Each instance needs them all.
//
//	sharing, err := views.NewSharing(views.SharingConfig{Group: "ordering-query", URL: "http://10.0.0.7:9002", Standbys: 1, Log: log})
//	…
//	orders, err := views.New(views.Config[string, Order]{…, Sharing: sharing})
//	…
//	mux.Handle(sharing.Path(), sharing)
//	mux.Handle("/orders/", handler) // of orders: answers any key, wherever it is
//	go orders.Run(ctx)
//
// Instances ask each other over HTTP, with the headers that the client sent, credentials among them. Nothing between them is
// authenticated beyond that: whoever reaches an instance's URL can ask what clients can.
//
// Its methods are safe for concurrent use.
type Sharing struct {
	config  SharingConfig
	log     *slog.Logger
	forward *forward.Forwarder
	probe   *http.Client
	nonce   string // of this process, to know itself by
	metrics *sharingMetrics

	mu       sync.Mutex
	views    []*bridge.View      // guarded by mu until the first runs, then fixed
	topics   []string            // guarded by mu likewise: their changelogs
	running  int                 // guarded by mu: views that run
	stop     context.CancelFunc  // guarded by mu: ends keep; nil while it does not run
	stopped  chan struct{}       // guarded by mu: closed when keep has ended
	failures []func(error)       // guarded by mu: end the views that run
	member   *membership.Member  // guarded by mu
	current  *share.Map          // guarded by mu: nil before the first
	changed  chan struct{}       // guarded by mu: closed when current is replaced
	since    map[int32]time.Time // guarded by mu: since when partitions are owned
	holds    map[int32]*holdOf   // guarded by mu: what the views are to hold
	leftover map[int32]time.Time // guarded by mu: copies on the disk only, and when they go
	told     map[int32]bool      // guarded by mu: the copies that the group knows to be ready
	draining bool                // guarded by mu
	tied     []Membership        // guarded by mu: what the group has been told of Memberships
	// doubtless is until when the copies count as the owner's although the group has not confirmed it, because the brokers
	// did not answer a moment ago; guarded by mu.
	doubtless time.Time
	waiting   atomic.Int64       // requests whose answers have not begun
	looks     map[int32]*ageLook // guarded by mu: looks at partitions that are under way
	// foreseeing are partitions of which it is being found out where they end; guarded by mu.
	foreseeing map[int32]bool
	looking    sync.WaitGroup // their goroutines; those that belong to what is held begin under mu
}

// holdOf is a partition that the views are to hold.
type holdOf struct {
	until time.Time       // when it is let go; zero while the map has it here
	ctx   context.Context // ends when it is let go
	end   context.CancelFunc
}

// NewSharing returns a Sharing that no view has yet. The error wraps ErrConfig and names all that is wrong.
func NewSharing(config SharingConfig) (*Sharing, error) {
	var problems []error
	complain := func(format string, values ...any) { problems = append(problems, fmt.Errorf(format, values...)) }
	if config.Group == "" {
		complain("field Group is not set")
	}
	if err := checkAdvertised(config.URL); err != nil {
		complain("field URL: %w", err)
	}
	if config.Instance == "" {
		config.Instance = instanceOf(config.URL)
	}
	if strings.Trim(config.Instance, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" || len(config.Instance) > 200 {
		complain("field Instance is %q; want at most 200 letters, digits, '.', '_' and '-'", config.Instance)
	}
	if config.Standbys < 0 || config.Capacity < 0 {
		complain("fields Standbys and Capacity are %d and %d; they must not be negative", config.Standbys, config.Capacity)
	}
	if config.SessionTimeout < 0 || config.MaxStaleness < 0 || config.KeepCopies < 0 || config.ReachableIn < 0 {
		complain("none of SessionTimeout, MaxStaleness, KeepCopies and ReachableIn may be negative")
	}
	if err := config.Log.Validate(); err != nil {
		complain("field Log: %w", err)
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("%w: sharing in group %q: %w", ErrConfig, config.Group, errors.Join(problems...))
	}
	config.Capacity = max(config.Capacity, 1)
	config.SessionTimeout = cmp.Or(config.SessionTimeout, DefaultSessionTimeout)
	config.MaxStaleness = cmp.Or(config.MaxStaleness, DefaultMaxStaleness)
	config.KeepCopies = cmp.Or(config.KeepCopies, DefaultKeepCopies)
	config.ReachableIn = cmp.Or(config.ReachableIn, DefaultReachableIn)
	if config.Transport == nil {
		config.Transport = forward.NewTransport()
	}
	s := &Sharing{
		config: config,
		log:    cmp.Or(config.Logger, slog.Default()).With("group", config.Group, "instance", config.Instance),
		probe:  &http.Client{Transport: config.Transport, Timeout: 2 * time.Second},
		nonce:  newNonce(), changed: make(chan struct{}), since: make(map[int32]time.Time),
		holds: make(map[int32]*holdOf), leftover: make(map[int32]time.Time), told: make(map[int32]bool),
		looks: make(map[int32]*ageLook), foreseeing: make(map[int32]bool),
	}
	s.forward = forward.New(config.Instance, s.Path(), config.Transport, s.log)
	s.metrics = newSharingMetrics(s, config.Metrics)
	return s, nil
}

// checkAdvertised returns what is wrong with an advertised URL.
func checkAdvertised(text string) error {
	parsed, err := url.Parse(text)
	switch {
	case err != nil:
		return err
	case parsed.Scheme != "http" && parsed.Scheme != "https", parsed.Host == "":
		return fmt.Errorf("%q must be like http://host:port", text)
	case parsed.Path != "" || parsed.RawQuery != "" || parsed.Fragment != "" || parsed.User != nil:
		return fmt.Errorf("%q must be scheme, host and port and nothing more", text)
	case parsed.Port() == "0":
		return fmt.Errorf("%q names port 0; advertise the port that is listened on", text)
	}
	if ip := net.ParseIP(parsed.Hostname()); ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%q names no host that others could reach; advertise an address of this one", text)
	}
	return nil
}

// instanceOf derives an instance's name from its URL.
func instanceOf(text string) string {
	_, host, _ := strings.Cut(text, "://")
	return strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9') || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, host)
}

// Instance returns the instance's name.
func (s *Sharing) Instance() string { return s.config.Instance }

// Path is where the Sharing itself is to be mounted, so that the other instances can tell whether they reach this one.
func (s *Sharing) Path() string { return "/.tidemill/sharing/" + url.PathEscape(s.config.Group) }

// sharingStatus is what an instance tells of the sharing.
type sharingStatus struct {
	Group      string             `json:"group"`
	Instance   string             `json:"instance"`
	Process    string             `json:"process"`
	Generation int32              `json:"generation"`
	Instances  []share.Instance   `json:"instances"`
	Partitions []partitionSharing `json:"partitions"`
}

// partitionSharing is where one partition is, and what of it is here.
type partitionSharing struct {
	Partition int32    `json:"partition"`
	Owner     string   `json:"owner"`
	Standbys  []string `json:"standbys,omitempty"`
	Warming   []string `json:"warming,omitempty"`
	Here      string   `json:"here"`
	Ready     bool     `json:"ready"`
}

// ServeHTTP tells where the partitions are, as this instance knows it: the group's generation, the instances with their
// URLs, and each partition's owner, standbys and those that are warming up. Other instances tell by it whom they reach.
func (s *Sharing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	status := sharingStatus{
		Group: s.config.Group, Instance: s.config.Instance, Process: s.nonce,
		Instances: []share.Instance{}, Partitions: []partitionSharing{},
	}
	if current, _ := s.now(); current != nil {
		status.Generation, status.Instances = current.Generation, current.Instances
		for number, holders := range current.Partitions {
			status.Partitions = append(status.Partitions, partitionSharing{
				Partition: int32(number), Owner: holders.Owner, Standbys: holders.Standbys, Warming: holders.Warming,
				Here: current.Role(int32(number), s.config.Instance).String(), Ready: s.held(int32(number)),
			})
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	// The client is gone when this fails; nobody is left to be told.
	_ = json.NewEncoder(w).Encode(status)
}

// now returns the present map, nil before the first, and a channel that is closed when there is another one.
func (s *Sharing) now() (*share.Map, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.changed
}

// held reports whether all views hold a partition and can answer for it.
func (s *Sharing) held(number int32) bool {
	for _, v := range s.all() {
		if !v.Held(number) {
			return false
		}
	}
	return true
}

// all returns the views.
func (s *Sharing) all() []*bridge.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.views
}

// add gives the Sharing a further view, before any runs.
func (s *Sharing) add(v *bridge.View, changelog string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running > 0 {
		return errors.New("field Sharing: a view that uses it runs already; make all views before the first is run")
	}
	s.views = append(s.views, v)
	s.topics = append(s.topics, changelog)
	return nil
}

// Drain has the other instances take over what this one owns, warming up first where none has a copy, and returns when
// this one owns nothing any more. It goes on answering meanwhile. Call it before a planned stop; without it the partitions
// move when the views stop, and those without a standby are not there until they have been restored. The error is
// ctx's.
func (s *Sharing) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	member := s.member
	s.mu.Unlock()
	if member == nil {
		return nil
	}
	member.Announce()
	for {
		s.mu.Lock()
		current, changed, gone := s.current, s.changed, s.member != member
		s.mu.Unlock()
		if gone || current != nil && (len(current.Instances) < 2 || len(current.With(s.config.Instance, share.Owner)) == 0) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("draining %s: %w", s.config.Instance, ctx.Err())
		}
	}
}

// Waiting is how many requests have come here whose answers have not begun. Where the instance stops whose processor leaves its group,
// others process a moment later what those wait for that is new: let them have their answers, and take no further ones, after Drain. It is
// 0 where there is no other instance.
func (s *Sharing) Waiting() int {
	if current, _ := s.now(); current == nil || len(current.Instances) < 2 {
		return 0
	}
	return int(s.waiting.Load())
}

// leaving reports whether a request that another instance has forwarded is to be asked again elsewhere, should it not be answered
// here: this instance is about to stop.
func (s *Sharing) leaving(r *http.Request) bool {
	if !forward.Forwarded(r) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}
