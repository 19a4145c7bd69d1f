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
	"github.com/lovoo/goka/storage"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/partition"
)

// viewSession is a run of one goka view over one incarnation of the topic, with the client, the consumer and the
// watching that belong to it.
type viewSession struct {
	view     *View
	ctx      context.Context // goka's seams carry none; ends with the session
	cancel   context.CancelCauseFunc
	client   *kgo.Client
	topic    viewTopic
	consumer *viewConsumer
	maxAge   time.Duration
}

// runSession follows the topic as it is now, until ctx ends, the topic is replaced, or goka gives up.
func (v *View) runSession(ctx context.Context, started *bool) error {
	leaving, leave := log.Leaving()
	client, err := v.config.Client(append(viewConsumerOptions("tidemill-view-"+v.config.Name), leaving)...)
	defer func() { leave(client) }()
	if err != nil {
		return fmt.Errorf("connecting: %w: %w", ErrViewConfig, err)
	}
	topic, err := viewDescribe(ctx, client, v.config.Topic)
	if err != nil {
		return err
	}
	session := &viewSession{view: v, client: client, topic: topic, consumer: newViewConsumer(v, client), maxAge: v.config.MaxAge}
	if session.maxAge == 0 {
		session.maxAge = viewTombstoneAge(ctx, client, v.config.Topic)
	}
	session.ctx, session.cancel = context.WithCancelCause(ctx)
	defer session.cancel(nil)
	v.setPartitions(topic.partitions)
	for _, p := range *v.partitions.Load() {
		if v.config.Shared {
			if err := p.peek(); err != nil {
				return err
			}
			continue
		}
		p.session = session
		// Opened here and not by goka, which keeps only the text of an error.
		if err := p.open(); err != nil {
			return err
		}
	}
	*started = true
	v.session.Store(session)
	defer v.session.Store(nil)
	return session.run()
}

// run starts the session's goroutines and waits for all of them. goka ends first: until then it may ask the consumer.
func (s *viewSession) run() error {
	background, stop := context.WithCancel(context.WithoutCancel(s.ctx))
	defer stop()
	var group sync.WaitGroup
	group.Go(func() { s.consumer.run(background) })
	group.Go(func() { s.watch(background) })
	group.Go(func() { s.view.gate.run(background, s) })
	group.Go(func() { s.view.freshness.run(background, s) })
	err := s.follow()
	stop()
	group.Wait()
	if cause := context.Cause(s.ctx); errors.Is(cause, errViewRestart) {
		return cause
	}
	return err
}

// follow runs goka until the session ends: on all partitions, or on those that are to be held.
func (s *viewSession) follow() error {
	if s.view.config.Shared {
		return s.runHeld()
	}
	view, err := s.newGokaView()
	if err != nil {
		return fmt.Errorf("making goka's view: %w", err)
	}
	return view.Run(s.ctx)
}

// commonOptions are the seams that do not depend on the partitions.
func (s *viewSession) commonOptions() []goka.ViewOption {
	return []goka.ViewOption{
		goka.WithViewAutoReconnect(),
		goka.WithViewBackoffBuilder(func() (goka.Backoff, error) { return &viewBackoff{}, nil }),
		goka.WithViewBackoffResetTimeout(10 * time.Second),
		goka.WithViewHasher(partition.NewHasher),
		goka.WithViewLogger(viewLogger{s.view.log}),
	}
}

// newGokaView makes goka's view with every seam filled.
func (s *viewSession) newGokaView() (*goka.View, error) {
	name := s.view.config.Topic
	return goka.NewView(nil, goka.Table(name), viewBytes{}, append(s.commonOptions(),
		goka.WithViewConsumerSaramaBuilder(func([]string, string) (sarama.Consumer, error) { return s.consumer, nil }),
		goka.WithViewTopicManagerBuilder(func([]string) (goka.TopicManager, error) { return viewTopicManager{s}, nil }),
		goka.WithViewStorageBuilder(func(_ string, number int32) (storage.Storage, error) {
			return viewStorage{s.view.partition(number)}, nil
		}),
		goka.WithViewCallback(func(update goka.UpdateContext, _ storage.Storage, _ string, _ []byte) error {
			return s.view.partition(update.Partition()).update(update.Offset())
		}),
	)...)
}

// bounds returns the first offset and the last stable offset of a partition.
func (s *viewSession) bounds(number int32) (oldest, stable int64, err error) {
	// The end first: read the other way round, a log cut in between would look as if it began after its end.
	ends, err := viewOffsets(s.ctx, s.client, s.view.config.Topic, []int32{number}, viewNewest, viewReadCommitted)
	if err != nil {
		return 0, 0, err
	}
	starts, err := viewOffsets(s.ctx, s.client, s.view.config.Topic, []int32{number}, viewOldest, viewReadUncommitted)
	if err != nil {
		return 0, 0, err
	}
	s.view.contact.Store(time.Now().UnixNano())
	return starts[number], max(ends[number], starts[number]), nil
}

// viewBytes is the codec that goka is given. It is not used: batches pass goka as they are.
type viewBytes struct{}

// Encode passes bytes through.
func (viewBytes) Encode(value any) ([]byte, error) {
	data, ok := value.([]byte)
	if !ok {
		return nil, fmt.Errorf("a %T is not bytes", value)
	}
	return data, nil
}

// Decode passes bytes through.
func (viewBytes) Decode(data []byte) (any, error) { return data, nil }

// viewLogger passes goka's lines on as debug output: what an operator should know the bridge says itself.
type viewLogger struct{ log *slog.Logger }

// Print logs its operands.
func (l viewLogger) Print(operands ...any) { l.log.Debug("goka", "line", fmt.Sprint(operands...)) }

// Println logs its operands.
func (l viewLogger) Println(operands ...any) { l.log.Debug("goka", "line", fmt.Sprint(operands...)) }

// Printf logs a formatted line.
func (l viewLogger) Printf(format string, operands ...any) {
	l.log.Debug("goka", "line", fmt.Sprintf(format, operands...))
}
