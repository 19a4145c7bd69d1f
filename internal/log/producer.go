package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/settle"
)

// Outcome is what became of a transaction.
type Outcome int

const (
	// Unknown means that the broker's answer to the commit is missing: the
	// transaction is committed or will be aborted. Reinit decides it, after
	// which the group's stable offsets tell which.
	Unknown Outcome = iota
	// Committed means that everything in the transaction happened.
	Committed
	// Aborted means that nothing in it ever will.
	Aborted
)

// String names the outcome.
func (o Outcome) String() string {
	switch o {
	case Committed:
		return "committed"
	case Aborted:
		return "aborted"
	}
	return "unknown"
}

var (
	// ErrNotReady is returned by Begin where Init, or after a failure Reinit,
	// must come first.
	ErrNotReady = errors.New("transactional producer is not initialised")
	// ErrNotInTransaction is returned where Begin must come first.
	ErrNotInTransaction = errors.New("no transaction has begun")
)

// The bounds of what a TxnProducer buffers; Produce waits when it is reached.
const (
	maxBufferedRecords = 20_000
	maxBufferedBytes   = 32 << 20
)

// TxnProducer writes records and a group's offsets in transactions, one
// transaction at a time under one transactional id. Several of them under
// several ids can take turns: the next begins while the last one's markers are
// still being written. On Kafka 4.3 an id that comes back before its markers are
// written waits 20 ms (add.partitions.to.txn.retry.backoff.ms).
//
// Its methods are for one goroutine at a time, except that between Begin and End
// any number may call Produce and ProduceTo.
type TxnProducer struct {
	cfg     Config
	id      string
	timeout time.Duration
	extra   []kgo.Opt

	cl       *kgo.Client // replaced by Init
	plain    *kgo.Client // speaks no EndTxn above version 4; made when first needed
	implicit bool        // the cluster has transaction.version 2
	ready    bool        // initialised, and nothing failed since
	txn      *txn        // the open transaction, nil if there is none
	closed   atomic.Bool

	ledger            *settle.Ledger // what has to be looked after of the id
	watch             *watch         // over the last commit's markers, nil if there is none
	offsetsPartitions int32          // of __consumer_offsets, 0 if not known
}

// txn is one transaction. Its promise is called by the client's goroutine.
type txn struct {
	producer *TxnProducer
	timeout  time.Duration
	first    sync.Once       // of the records
	ctx      context.Context // ends waiting records; made with the first one
	cancel   context.CancelFunc
	produced atomic.Bool              // after ctx was made
	offsets  atomic.Bool              // CommitOffsets was sent
	done     func(*kgo.Record, error) // promise, made a function once

	// The last record that was acknowledged or failed, and the last offsets of the partitions before its own; of the
	// goroutine that calls the promises, and after Flush of the producer's.
	topic     string
	partition int32
	offset    int64
	last      Offsets

	group     string            // whose offsets went with it
	committed settle.Partitions // of them one partition: they become stable together

	mu  sync.Mutex
	err error // the first error, guarded by mu
}

// begin starts the time within which records must be acknowledged: later the
// transaction could not be committed any more. It is not the record's own time
// that counts, because that is message time.
func (t *txn) begin() {
	t.ctx, t.cancel = context.WithTimeout(context.Background(), t.timeout)
	t.produced.Store(true)
}

// stop ends records that still wait.
func (t *txn) stop() {
	if t.produced.Load() {
		t.cancel()
	}
}

func (t *txn) promise(r *kgo.Record, err error) {
	if r.Partition != t.partition || r.Topic != t.topic {
		t.leave()
		t.topic, t.partition = r.Topic, r.Partition
		t.producer.ledger.Wrote(r.Topic, r.Partition)
	}
	t.offset = r.Offset
	if err != nil {
		t.fail(explain("producing to "+r.Topic, err))
	}
}

// leave notes the last offset of a partition.
func (t *txn) leave() {
	if t.topic == "" {
		return
	}
	if t.last == nil {
		t.last = Offsets{}
	}
	t.last.set(t.topic, t.partition, t.offset)
}

func (t *txn) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
}

// failed returns why the transaction cannot be committed.
func (t *txn) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// NewTxnProducer returns a producer for a transactional id. timeout is after
// what time the coordinator aborts a transaction that its producer has left
// open; it should not exceed the group's session time-out. It makes no
// connection: call Init. The extra options take precedence over Config's.
func NewTxnProducer(cfg Config, id string, timeout time.Duration, extra ...kgo.Opt) (*TxnProducer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if id == "" {
		return nil, fmt.Errorf("%w: the transactional id is empty", ErrConfig)
	}
	if timeout < time.Millisecond {
		return nil, fmt.Errorf("%w: the transaction time-out of %s is less than a millisecond", ErrConfig, timeout)
	}
	p := &TxnProducer{cfg: cfg.WithDefaults(), id: id, timeout: timeout, extra: extra}
	p.ledger = settle.New(settling{p})
	return p, nil
}

// ID is the transactional id.
func (p *TxnProducer) ID() string { return p.id }

// Init makes this the only producer of its transactional id: whoever had it is
// fenced, a transaction left open is aborted, and what the last ones have written
// is decided on every partition that Covers and this producer's own records name,
// all before Init returns.
func (p *TxnProducer) Init(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.RequestTimeout)
	defer cancel()
	doing := "initialising transactional id " + p.id
	p.drop()
	if err := p.connect(ctx); err != nil {
		return explain(doing, err)
	}
	if err := p.ledger.Init(ctx); err != nil {
		return explain(doing, err)
	}
	p.ready = true
	return nil
}

// Reinit is Init after something went wrong: it drops an open transaction with
// everything buffered. When it returns nil, the fate of a transaction whose
// outcome was Unknown is decided and visible.
func (p *TxnProducer) Reinit(ctx context.Context) error {
	p.ledger.Doubt()
	return p.Init(ctx)
}

// connect replaces the client: a new one has no memory of the past. It asks
// whether the cluster adds partitions and groups to transactions by itself.
func (p *TxnProducer) connect(ctx context.Context) error {
	if p.closed.Load() {
		return kgo.ErrClientClosed
	}
	opts, err := p.options()
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	level, _, err := finalizedFeature(ctx, cl, "transaction.version")
	if err != nil {
		cl.Close()
		return err
	}
	if p.implicit = level >= 2; !p.implicit {
		cl.Close()
		old := spoken()
		old.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 4)
		old.SetMaxKeyVersion(kmsg.EndTxn.Int16(), 4)
		if cl, err = kgo.NewClient(append(opts, kgo.MaxVersions(old))...); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	p.cl = cl
	return nil
}

func (p *TxnProducer) options() ([]kgo.Opt, error) {
	opts, err := p.cfg.ClientOptions()
	if err != nil {
		return nil, err
	}
	opts = append(opts,
		kgo.TransactionalID(p.id),
		kgo.TransactionTimeout(p.timeout),
		kgo.RecordPartitioner(partitioner{}),
		kgo.MaxBufferedRecords(maxBufferedRecords),
		kgo.MaxBufferedBytes(maxBufferedBytes),
		// No RecordDeliveryTimeout: the client counts it from the record's timestamp,
		// which here is message time. See txn.begin.
	)
	return append(opts, p.extra...), nil
}

// Begin begins a transaction. The broker hears of it with the first record or
// offset. Where something failed since the last Init it returns ErrNotReady. It
// waits, if need be, until the last transaction is decided wherever it has written;
// if that is not so within the time-out, Reinit must see to it.
func (p *TxnProducer) Begin() error {
	doing := "beginning a transaction of " + p.id
	if !p.ready {
		return fmt.Errorf("%s: %w", doing, ErrNotReady)
	}
	if p.txn != nil {
		return fmt.Errorf("%s: the last one has not ended", doing)
	}
	if err := p.endWatch(); err != nil {
		p.ready = false
		return explain(doing, err)
	}
	if p.ledger.Stale() {
		if err := p.Init(context.Background()); err != nil {
			return err
		}
	}
	if err := p.cl.BeginTransaction(); err != nil {
		p.ready = false
		return explain(doing, err)
	}
	p.txn = &txn{producer: p, timeout: p.timeout, partition: -1}
	p.txn.done = p.txn.promise
	return nil
}

// Produce writes a record to the partition of its key, by Java's rule, and
// returns without waiting for the acknowledgement, unless the buffer is full.
// The record must not be changed afterwards. What goes wrong with it is told by
// Flush and End; the only error of Produce itself is ErrNotInTransaction.
func (p *TxnProducer) Produce(r *kgo.Record) error {
	r.Partition = 0
	return p.produce(r)
}

// ProduceTo is Produce to a chosen partition.
func (p *TxnProducer) ProduceTo(r *kgo.Record, partition int32) error {
	r.Partition = chosen(partition)
	return p.produce(r)
}

// ProduceBy is Produce to the partition of another key than the record's own; see
// SetPartitionKey. The key may be changed afterwards.
func (p *TxnProducer) ProduceBy(r *kgo.Record, key []byte) error {
	SetPartitionKey(r, key)
	return p.produce(r)
}

func (p *TxnProducer) produce(r *kgo.Record) error {
	t := p.txn
	if t == nil {
		return ErrNotInTransaction
	}
	t.first.Do(t.begin)
	p.cl.Produce(t.ctx, r, t.done)
	return nil
}

// Flush waits until every record is acknowledged and returns the first error. A
// transaction with an error can only be aborted.
func (p *TxnProducer) Flush(ctx context.Context) error {
	if p.txn == nil {
		return ErrNotInTransaction
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.RequestTimeout)
	defer cancel()
	if err := p.cl.Flush(ctx); err != nil {
		left := p.cl.BufferedProduceRecords()
		p.txn.fail(explain("flushing transaction "+p.id, fmt.Errorf("%w (%d records are not acknowledged)", err, left)))
	}
	return p.txn.failed()
}

// CommitOffsets adds a group's positions to the transaction; see TxnOffsetCommit
// for its errors. A transaction with an error can only be aborted.
//
// Call it after Flush: while the broker adds a partition to the transaction for
// a record it turns the offsets away for a moment, and the other way round, which
// costs up to 100 ms [measured on Kafka 4.3].
func (p *TxnProducer) CommitOffsets(ctx context.Context, m Member, to Positions) error {
	if p.txn == nil {
		return ErrNotInTransaction
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.RequestTimeout)
	defer cancel()
	who, err := p.identity(ctx)
	if err == nil {
		p.txn.offsets.Store(true)
		p.ledger.Commits(m.Group)
		p.txn.group, p.txn.committed = m.Group, anyOne(to)
		cl := p.cl
		if !p.txn.produced.Load() { // then the epoch will not move on with the end: see connectPlain
			if err = p.connectPlain(); err == nil {
				cl = p.plain
			}
		}
		if err == nil {
			err = TxnOffsetCommit(ctx, cl, p.implicit, m, who, to)
		}
	}
	if err != nil {
		p.txn.fail(err)
	}
	return err
}

// anyOne returns one of the partitions, if there is one.
func anyOne(of Positions) settle.Partitions {
	one := settle.Partitions{}
	for topic, partitions := range of {
		for partition := range partitions {
			one.Add(topic, partition)
			return one
		}
	}
	return one
}

func (p *TxnProducer) identity(ctx context.Context) (Producer, error) {
	id, epoch, err := p.cl.ProducerID(ctx)
	if err != nil {
		return Producer{}, explain("asking for the producer id of "+p.id, err)
	}
	return Producer{TransactionalID: p.id, ID: id, Epoch: epoch}, nil
}

// drop closes the client with whatever it holds.
func (p *TxnProducer) drop() {
	p.ready = false
	p.dropWatch()
	p.doubt()
	p.forget()
	if p.cl != nil {
		p.cl.UnsafeAbortBufferedRecords()
		p.awaitPromises()
		p.cl.Close()
		p.cl = nil
	}
}

// awaitPromises waits until every record has told its partition, which takes no answer of a broker.
func (p *TxnProducer) awaitPromises() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.cl.Flush(ctx)
}

// Close ends the connections. An open transaction is left for the next Init or
// the coordinator's time-out to abort.
func (p *TxnProducer) Close() {
	p.closed.Store(true)
	p.drop()
	if p.plain != nil {
		p.plain.Close()
	}
}
