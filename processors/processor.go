// Package processors runs a topology: its tasks over Kafka, exactly once, their state in local LevelDB behind compacted
// changelogs.
//
// A Processor is one instance of an application. Start as many as there are partitions, in as many processes; they share
// the partitions. Each sub-topology is a consumer group of its own.
package processors

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
	"github.com/tidemill/tidemill/topology"
)

// The errors of this package; test for them with errors.Is. Those of the brokers are in package kafka.
var (
	// ErrConfig is wrapped round everything that Config.Validate finds.
	ErrConfig = errors.New("configuration of the processor")
	// ErrStateInUse says that another process uses the state directory.
	ErrStateInUse = errors.New("the state directory is in use")
	// ErrTopicRecreated says that a topic was deleted and made anew since the state that follows from it was written.
	ErrTopicRecreated = bridge.ErrTopicRecreated
	// ErrNoCommittedOffset, ErrForeignOffset, ErrOffsetOutOfRange and ErrInstanceInUse end a processor; the text names the fix.
	ErrNoCommittedOffset = bridge.ErrNoCommittedOffset
	ErrForeignOffset     = bridge.ErrForeignOffset
	ErrOffsetOutOfRange  = bridge.ErrOffsetOutOfRange
	ErrInstanceInUse     = bridge.ErrInstanceInUse
)

// changelogTombstones is delete.retention.ms of changelogs: how long a tombstone outlives its row, and so how old local
// state may be without being restored from the beginning (rule 9).
const changelogTombstones = 7 * 24 * time.Hour

// Processor is one instance of an application. Its methods may be called concurrently; Run once.
type Processor struct {
	topology *topology.Topology
	config   Config
	observer *observer
	instance atomic.Pointer[string] // nil until Run has read it
}

// New returns a processor. The error joins everything that is wrong with the configuration.
func New(t *topology.Topology, config Config) (*Processor, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	observer, err := newObserver(t.Graph(), config)
	if err != nil {
		return nil, err
	}
	return &Processor{topology: t, config: config, observer: observer}, nil
}

// Ready is closed once every sub-topology has joined its group and its assigned tasks are restored for the first time.
func (p *Processor) Ready() <-chan struct{} { return p.observer.ready }

// InstanceID returns the id under which the processor is a member of its groups: Config.InstanceID, or the one that is kept in the
// state directory, which is not known before Run has opened that. It is empty until then.
func (p *Processor) InstanceID() string {
	if id := p.instance.Load(); id != nil {
		return *id
	}
	return ""
}

// Status returns what the processor is doing.
func (p *Processor) Status() Status { return p.observer.status() }

// Run runs the processor until ctx ends: then what was stepped is committed, as far as the brokers allow it within three
// seconds, the groups are left if Config.OnStop says so, and Run returns nil. Otherwise it returns the error that ended it. A broker that cannot be reached once one has
// answered, or with Config.AwaitBrokers at all, does not: work resumes when it is back.
func (p *Processor) Run(ctx context.Context) error {
	state, err := openStateDir(filepath.Join(p.config.StateDir, p.topology.Application()))
	if err != nil {
		return err
	}
	defer state.close()
	instance, err := state.instanceID(p.config.InstanceID)
	if err != nil {
		return err
	}
	p.instance.Store(&instance)
	if err := p.prepareTopics(ctx, state); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	cache := store.NewCache(blockCacheBytes)
	for _, sub := range p.topology.Graph().SubTopologies {
		running := bridge.NewProcessor(p.bridgeConfig(sub, state, instance, cache))
		wait.Go(func() {
			if err := running.Run(ctx); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
			cancel() // one sub-topology alone is half an application
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// blockCacheBytes is shared by all stores of the process.
const blockCacheBytes = 8 << 20

func (p *Processor) bridgeConfig(sub *graph.SubTopology, state *stateDir, instance string, cache *store.Cache) bridge.ProcessorConfig {
	c := p.config
	config := bridge.ProcessorConfig{
		Log: c.Kafka, SubTopology: sub, Dir: state.tasks(sub.Name), InstanceID: instance,
		Timeouts:       bridge.Timeouts{Session: c.SessionTimeout, Heartbeat: c.HeartbeatInterval, Rebalance: c.RebalanceTimeout},
		CommitInterval: c.CommitInterval, CommitTimeout: c.CommitTimeout, BufferBytes: c.BufferBytes, CacheBytes: c.CacheBytes,
		Store: store.Options{Cache: cache}, TombstoneAge: changelogTombstones,
		LeaveAtStop: c.OnStop == LeaveGroup, Logger: c.Logger, Observer: p.observer.sub(sub),
	}
	if c.Guarantee == AtLeastOnce {
		config.Guarantee = bridge.AtLeastOnce
	}
	switch c.OnError {
	case Stop:
		config.Policy = task.Stop
	case Skip:
		config.Policy = task.Skip
	}
	return config
}

// RemoveInstance takes an instance out of the application's groups at once, so that its partitions go to others without
// waiting for the session time-out (rule 10): for one that does not come back. Config.OnStop has an instance do so by itself.
func RemoveInstance(ctx context.Context, t *topology.Topology, config Config, instanceID string) error {
	admin, err := log.NewAdmin(config.Kafka)
	if err != nil {
		return err
	}
	defer admin.Close()
	var errs []error
	for _, sub := range t.Graph().SubTopologies {
		if err := admin.RemoveStaticMember(ctx, sub.Group, instanceID, ""); err != nil {
			errs = append(errs, fmt.Errorf("removing instance %s from group %s: %w", instanceID, sub.Group, err))
		}
	}
	return errors.Join(errs...)
}
