package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/partition"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

// Guarantee is how often a record's effects happen.
type Guarantee int

// The guarantees.
const (
	ExactlyOnce Guarantee = iota
	AtLeastOnce
)

// ProcessorConfig says how to run one sub-topology. Every field is needed, but for those that say otherwise.
type ProcessorConfig struct {
	Log         log.Config
	SubTopology *graph.SubTopology
	// Dir is the directory for the tasks' stores, one sub-directory a partition; this processor alone uses it.
	Dir string
	// InstanceID tells this instance from the others of the group, over restarts (KIP-345).
	InstanceID string
	Guarantee  Guarantee
	Timeouts   Timeouts
	// CommitInterval bounds how long work waits for its commit under load. CommitTimeout bounds one commit.
	CommitInterval, CommitTimeout time.Duration
	// BufferBytes bounds the uncommitted state and records held in memory.
	BufferBytes int
	Policy      task.Policy
	Store       store.Options
	// TombstoneAge is the changelogs' delete.retention.ms: an older checkpoint is not believed (rule 9).
	TombstoneAge time.Duration
	Logger       *slog.Logger
	Observer     ProcessorObserver
}

// ProcessorObserver is told what a processor does, for metrics and readiness. Its methods may be called concurrently, and
// must not block.
type ProcessorObserver interface {
	commit.Observer
	// Running says that the assigned tasks are restored and run.
	Running(partitions []int32)
	// Rebalanced says that the last session has ended.
	Rebalanced()
	// RecordFailed reports a record that could not be processed.
	RecordFailed(record task.Record, err *graph.RecordError)
	// Restoring reports the progress of a store: records read so far and, as far as offsets tell, in all.
	Restoring(store string, partition int32, done, total int64)
}

// Processor runs one sub-topology as a goka processor.
type Processor struct {
	config    ProcessorConfig
	logger    *slog.Logger
	admin     *log.Admin
	producers []commit.Producer
	closers   []func()
	batches   *batches

	// The fields below belong to the goroutine that runs sessions, one after another.
	engines    map[int32]store.Engine
	topicIDs   map[string][16]byte
	partitions int32
	endSession context.CancelFunc
	sessionErr error
	unclean    bool           // the last session failed: its transactions may be open
	running    sync.WaitGroup // the session's goroutines
	runDone    chan struct{}

	mu      sync.RWMutex
	session *commit.Session // guarded by mu; nil between sessions
}

// NewProcessor returns a processor. Run starts it.
func NewProcessor(config ProcessorConfig) *Processor {
	return &Processor{
		config: config, batches: newBatches(), engines: map[int32]store.Engine{},
		logger: config.Logger.With("group", config.SubTopology.Group, "instance", config.InstanceID),
	}
}

// Run runs the processor until ctx ends, which commits what was stepped and returns nil, or an error ends it.
func (p *Processor) Run(ctx context.Context) (err error) {
	if p.admin, err = log.NewAdmin(p.config.Log); err != nil {
		return err
	}
	defer p.admin.Close()
	defer func() { err = errors.Join(err, p.shutDown()) }()
	if err := p.prepare(ctx); err != nil {
		return err
	}
	processor, err := p.goka()
	if err != nil {
		return fmt.Errorf("building processor %s: %w", p.config.SubTopology.Group, err)
	}
	if err := processor.Run(ctx); err != nil {
		return fmt.Errorf("running processor %s: %w", p.config.SubTopology.Group, err)
	}
	return nil
}

// prepare looks at the topics and takes over the transactional ids, before the group is joined (rule 1).
func (p *Processor) prepare(ctx context.Context) error {
	p.topicIDs = map[string][16]byte{}
	for _, source := range p.config.SubTopology.Sources {
		topic, err := p.admin.Describe(ctx, source.Topic.Name)
		if err != nil {
			return err
		}
		p.partitions = topic.Partitions
	}
	for _, spec := range p.config.SubTopology.Stores {
		topic, err := p.admin.Describe(ctx, spec.Changelog)
		if err != nil {
			return err
		}
		p.topicIDs[spec.Name] = topic.ID
	}
	if p.config.Guarantee == AtLeastOnce {
		client, err := log.NewProducer(p.config.Log)
		if err != nil {
			return err
		}
		p.closers = append(p.closers, client.Close)
		p.producers = []commit.Producer{&idempotent{client: client, commit: func(ctx context.Context, m log.Member, to log.Positions) error {
			return log.OffsetCommit(ctx, client, m, to)
		}}}
		return nil
	}
	for turn := range 2 {
		producer, err := log.NewTxnProducer(p.config.Log, p.transactionalID(turn), p.config.Timeouts.Session)
		if err != nil {
			return err
		}
		p.closers = append(p.closers, producer.Close)
		if err := producer.Init(ctx); err != nil {
			return err
		}
		p.producers = append(p.producers, &transactional{producer: producer})
	}
	return nil
}

// transactionalID is "<group>-<instance>-<0 or 1>".
func (p *Processor) transactionalID(turn int) string {
	return fmt.Sprintf("%s-%s-%d", p.config.SubTopology.Group, p.config.InstanceID, turn)
}

// goka builds the processor round our seams.
func (p *Processor) goka() (*goka.Processor, error) {
	var edges []goka.Edge
	for _, topic := range p.config.SubTopology.SourceTopics() {
		edges = append(edges, goka.Input(goka.Stream(topic), p.batches, p.process))
	}
	config, err := saramaConfig(p.config.Log.WithDefaults(), p.config.InstanceID, p.config.Timeouts)
	if err != nil {
		return nil, err
	}
	return goka.NewProcessor(p.config.Log.Brokers, goka.DefineGroup(goka.Group(p.config.SubTopology.Group), edges...),
		goka.WithLogger(gokaLogger{p.logger}),
		goka.WithClientID(config.ClientID),
		goka.WithHasher(partition.NewHasher),
		goka.WithNilHandling(goka.NilProcess),
		goka.WithPartitionChannelSize(1),
		goka.WithProducerBuilder(unusedProducerBuilder),
		goka.WithConsumerSaramaBuilder(unusedConsumerBuilder),
		goka.WithTopicManagerBuilder(func([]string) (goka.TopicManager, error) {
			return topicManager{admin: p.admin, timeout: p.config.Log.WithDefaults().RequestTimeout}, nil
		}),
		goka.WithConsumerGroupBuilder(func(brokers []string, name, _ string) (sarama.ConsumerGroup, error) {
			real, err := sarama.NewConsumerGroup(brokers, name, config)
			if err != nil {
				return nil, fmt.Errorf("connecting consumer group %s: %w", name, err)
			}
			return &group{ConsumerGroup: real, processor: p}, nil
		}),
	)
}

// process is goka's callback: one batch of one partition. When the session is over the batch is forgotten; it will be read
// again from the committed offsets.
func (p *Processor) process(_ goka.Context, message any) {
	b, ok := message.(*batch)
	if !ok {
		return
	}
	p.mu.RLock()
	session := p.session
	p.mu.RUnlock()
	if session == nil {
		return
	}
	if err := session.Process(b.partition, b.records); err != nil && !errors.Is(err, commit.ErrClosed) {
		p.logger.Error("processing a record", "partition", b.partition, "error", err)
	}
}

// shutDown closes what Run has opened. A drained instance's transactions are ended by then.
func (p *Processor) shutDown() error {
	for _, closer := range p.closers {
		closer()
	}
	var errs []error
	for number, engine := range p.engines {
		if err := engine.Close(); err != nil {
			errs = append(errs, fmt.Errorf("closing the stores of partition %d: %w", number, err))
		}
	}
	return errors.Join(errs...)
}

func (p *Processor) recordFailed(record task.Record, err *graph.RecordError) {
	p.logger.Error("a record cannot be processed", "topic", record.Topic, "partition", record.Partition, "offset", record.Offset,
		"cause", string(err.Cause), "node", err.Node, "error", err.Err)
	p.config.Observer.RecordFailed(record, err)
}
