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
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/partition"
	"github.com/tidemill/tidemill/internal/restore"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
	"github.com/tidemill/tidemill/internal/transact"
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
	// CacheBytes bounds the decoded rows held in memory, over all tasks.
	CacheBytes int
	Policy     task.Policy
	Store      store.Options
	// TombstoneAge is the changelogs' delete.retention.ms: an older checkpoint is not believed (rule 9).
	TombstoneAge time.Duration
	// LeaveAtStop has the instance leave the group when it is told to stop, once its last commit is made.
	LeaveAtStop bool
	Logger      *slog.Logger
	Observer    ProcessorObserver
}

// ProcessorObserver is told what a processor does, for metrics and readiness. Its methods may be called concurrently, and
// must not block.
type ProcessorObserver interface {
	commit.Observer
	// Running says that the assigned tasks are restored and run.
	Running(partitions []int32)
	// SessionEnded says that the tasks do not run any more, and why if that was a failure.
	SessionEnded(err error)
	// RecordFailed reports a record that could not be processed.
	RecordFailed(record task.Record, err *graph.RecordError)
	// Restoring reports the progress of a store: records read so far and, as far as offsets tell, in all.
	Restoring(store string, partition int32, done, total int64)
	// Measured reports the running tasks' lag and sizes, every two seconds.
	Measured(measures Measures)
}

// Processor runs one sub-topology as a goka processor.
type Processor struct {
	config    ProcessorConfig
	logger    *slog.Logger
	admin     *log.Admin
	client    *kgo.Client // for what neither admin nor producers do
	producers []commit.Producer
	closers   []func()
	batches   *batches
	// ids are the producers by transactional id: our own, and those of departed instances that are not taken over yet.
	ids map[string]*log.TxnProducer
	// producerOptions are added to the producers'; tests inject faults by them.
	producerOptions []kgo.Opt

	// The fields below belong to the goroutine that runs sessions, one after another.
	engines    *engines
	topicIDs   map[string][16]byte // of sources and changelogs, by topic
	partitions int32
	sources    topicManager
	endSession context.CancelFunc
	sessionErr error
	memberID   string         // of the last session, "" before the first
	unclean    bool           // the last session failed: its transactions may be open
	unstable   int            // how many times in a row the group's offsets were those of a transaction
	running    sync.WaitGroup // the session's goroutines
	runDone    chan struct{}

	mu      sync.RWMutex
	session *commit.Session // guarded by mu; nil between sessions
}

// NewProcessor returns a processor. Run starts it.
func NewProcessor(config ProcessorConfig) *Processor {
	logger := config.Logger.With("group", config.SubTopology.Group, "instance", config.InstanceID)
	return &Processor{
		config: config, batches: newBatches(), ids: map[string]*log.TxnProducer{}, engines: newEngines(config.Dir, config.Store, config.SubTopology.Stores, logger), logger: logger,
	}
}

// Run runs the processor until ctx ends, which commits what was stepped and returns nil, or an error ends it.
func (p *Processor) Run(ctx context.Context) (err error) {
	if p.admin, err = log.NewAdmin(p.config.Log); err != nil {
		return err
	}
	defer p.admin.Close()
	defer func() { err = errors.Join(err, p.shutDown()) }()
	p.engines.begin()
	if err := p.run(ctx); err != nil && (ctx.Err() == nil || fatal(err)) {
		return fmt.Errorf("running processor %s: %w", p.config.SubTopology.Group, err)
	}
	return nil
}

func (p *Processor) run(ctx context.Context) error {
	var dialer *connections
	var processor *goka.Processor
	for {
		dialer = newConnections(p.config.Log.WithDefaults().DialTimeout)
		var err error
		if processor, err = p.build(ctx, dialer); err == nil {
			break
		}
		if ctx.Err() != nil || !passes(err) {
			return err
		}
		p.logger.Warn("the start did not succeed; trying again", "error", err)
		p.release()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(startDelay):
		}
	}
	var cutting sync.WaitGroup
	defer cutting.Wait()
	ended := make(chan struct{})
	defer close(ended)
	cutting.Go(func() { cutLate(ctx, ended, dialer) })
	return processor.Run(ctx)
}

// passes tells whether what an attempt to start failed with goes by: no broker answers, or another instance, for which this
// one has departed, ends the transactions of its former life at the same time.
func passes(err error) bool {
	return errors.Is(err, log.ErrUnreachable) || errors.Is(err, log.ErrProducerFenced)
}

// build is one attempt to do everything that needs brokers before the group can be joined. Goka connects the group only when
// it runs, and would tell no error of that apart from others: it is connected here.
func (p *Processor) build(ctx context.Context, dialer *connections) (*goka.Processor, error) {
	if err := p.prepare(ctx); err != nil {
		return nil, err
	}
	config, err := saramaConfig(p.config.Log.WithDefaults(), p.config.InstanceID, p.config.Timeouts, dialer, p.logger)
	if err != nil {
		return nil, err
	}
	name := p.config.SubTopology.Group
	connected, err := sarama.NewConsumerGroup(p.config.Log.Brokers, name, config)
	if err != nil {
		// That they let clients in and what they are was found out before, with the same settings.
		return nil, fmt.Errorf("connecting consumer group %s: %w: %w", name, log.ErrUnreachable, err)
	}
	p.closers = append(p.closers, func() { _ = connected.Close() }) // a second time does nothing
	return p.goka(config.ClientID, &group{ConsumerGroup: connected, processor: p})
}

// startDelay is between two attempts to start.
const startDelay = 500 * time.Millisecond

// release closes the clients that an attempt to start has made.
func (p *Processor) release() {
	for _, closer := range p.closers {
		closer()
	}
	p.closers, p.producers = nil, nil
}

// cutLate cuts the group's connections when stopping takes longer than the last commit may.
func cutLate(ctx context.Context, ended <-chan struct{}, dialer *connections) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	late := time.NewTimer(stopTimeout + time.Second/4)
	defer late.Stop()
	select {
	case <-ended:
	case <-late.C:
		dialer.cut()
	}
}

// prepare looks at the topics and takes over the transactional ids, before the group is joined (rule 1).
func (p *Processor) prepare(ctx context.Context) error {
	p.topicIDs, p.sources = map[string][16]byte{}, topicManager{}
	for _, name := range p.config.SubTopology.SourceTopics() {
		topic, err := p.admin.Describe(ctx, name)
		if err != nil {
			return err
		}
		p.partitions, p.topicIDs[name], p.sources[name] = topic.Partitions, topic.ID, topic.Partitions
	}
	for _, spec := range p.config.SubTopology.Stores {
		topic, err := p.admin.Describe(ctx, spec.Changelog)
		if err != nil {
			return err
		}
		p.topicIDs[spec.Changelog] = topic.ID
	}
	var err error
	if p.client, err = log.NewProducer(p.config.Log, p.producerOptions...); err != nil {
		return err
	}
	p.closers = append(p.closers, p.client.Close)
	if err := p.checkBroker(ctx); err != nil {
		return err
	}
	if p.config.Guarantee == AtLeastOnce {
		p.producers = []commit.Producer{&idempotent{client: p.client}}
		return nil
	}
	for turn := range 2 {
		id := restore.TransactionalID(p.config.SubTopology.Group, p.config.InstanceID, turn)
		producer, err := p.transactional(id)
		if err != nil {
			return err
		}
		if err := producer.Init(ctx); err != nil {
			return err
		}
		p.producers = append(p.producers, transact.New(producer))
	}
	return nil
}

// goka builds the processor round our seams.
func (p *Processor) goka(clientID string, joined *group) (*goka.Processor, error) {
	var edges []goka.Edge
	for _, topic := range p.config.SubTopology.SourceTopics() {
		edges = append(edges, goka.Input(goka.Stream(topic), p.batches, p.process))
	}
	return goka.NewProcessor(p.config.Log.Brokers, goka.DefineGroup(goka.Group(p.config.SubTopology.Group), edges...),
		goka.WithLogger(gokaLogger{p.logger}),
		goka.WithClientID(clientID),
		goka.WithHasher(partition.NewHasher),
		goka.WithNilHandling(goka.NilProcess),
		goka.WithPartitionChannelSize(1),
		goka.WithProducerBuilder(unusedProducerBuilder),
		goka.WithConsumerSaramaBuilder(unusedConsumerBuilder),
		goka.WithTopicManagerBuilder(func([]string) (goka.TopicManager, error) { return p.sources, nil }),
		goka.WithConsumerGroupBuilder(func([]string, string, string) (sarama.ConsumerGroup, error) { return joined, nil }),
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

// shutDown closes what Run has opened.
func (p *Processor) shutDown() error {
	p.release()
	for _, producer := range p.ids {
		producer.Close()
	}
	clear(p.ids)
	return p.engines.close()
}

func (p *Processor) recordFailed(record task.Record, err *graph.RecordError) {
	p.logger.Error("a record cannot be processed", "topic", record.Topic, "partition", record.Partition, "offset", record.Offset,
		"cause", string(err.Cause), "node", err.Node, "error", err.Err)
	p.config.Observer.RecordFailed(record, err)
}
