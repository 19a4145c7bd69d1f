package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
)

// session is one broker and what is measured on it, one after another.
type session struct {
	options
	began          time.Time
	cache          string // where the peers are built
	dir            string // temporary
	broker         *kafkatest.Process
	admin          *log.Admin
	loaded         string // what the topic of commands holds
	runs           int
	begun, planned int // runs of the measurement
	round          int
	point          int // of a curve, where the work has one

	partitions int32 // of every topic
}

// buildTimeout bounds the building of the peers, downloads included.
const buildTimeout = 10 * time.Minute

func newSession(ctx context.Context, o options) (*session, error) {
	s := &session{options: o, began: time.Now(), partitions: defaultPartitions}
	if _, err := os.Stat("go.mod"); err != nil {
		return nil, errors.New("run it in the module's directory: make bench")
	}
	var err error
	if s.cache, err = filepath.Abs(filepath.Join(".cache", "bench")); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return nil, err
	}
	if err := s.buildPeers(ctx); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "tidemill-bench-"); err != nil {
		return nil, err
	}
	if err := s.startBroker(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) startBroker() error {
	s.say("starting Kafka")
	dir := filepath.Join(s.dir, "kafka")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var err error
	s.broker, err = kafkatest.StartReal(dir, kafkatest.Options{Properties: map[string]string{
		"log.segment.delete.delay.ms": "1000", // what a run has left is gone before the next one ends
	}})
	if err != nil {
		return err
	}
	s.admin, err = log.NewAdmin(log.Config{Brokers: s.broker.Brokers()})
	return err
}

// close ends the broker and removes what is left, unless it is to be kept.
func (s *session) close() {
	if s.admin != nil {
		s.admin.Close()
	}
	if s.broker != nil {
		s.broker.Close()
	}
	if s.keep {
		s.say("kept: %s", s.dir)
		return
	}
	_ = os.RemoveAll(s.dir) // it is in the system's temporary directory
}

// say shows progress.
func (s *session) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// buildPeers builds the programs under bench/peers into .cache/bench.
func (s *session) buildPeers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	if err := os.MkdirAll(s.cache, 0o755); err != nil {
		return err
	}
	for _, step := range []struct{ what, dir, command string }{
		{"the peer on goka", "bench/peers/goka", "go build -o " + filepath.Join(s.cache, "goka") + " ."},
		{"the peer on Kafka Streams", "bench/peers/kafka-streams", "mvn -q -B compile dependency:copy-dependencies" +
			" -DoutputDirectory=" + filepath.Join(s.cache, "kafka-streams", "libs") + " -Dbench.directory=" + filepath.Join(s.cache, "kafka-streams")},
	} {
		s.say("building %s", step.what)
		words := strings.Fields(step.command)
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.Dir = step.dir
		cmd.Env = append(os.Environ(), "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", step.what, err, out)
		}
	}
	return nil
}

// profile names the file of a profile that was asked for.
func (s *session) profile(work string) string {
	if !s.options.profile {
		return ""
	}
	return fmt.Sprintf("%s-%s.pprof", s.out, work)
}

// measure runs one work of one contender, with nothing left of earlier ones but the commands.
func (s *session) measure(ctx context.Context, w work, c contender, point int) (map[string]float64, error) {
	s.point = point
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	if err := s.clean(ctx); err != nil {
		return nil, err
	}
	values, err := w.run(ctx, s, c)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, s.logTail())
	}
	return values, nil
}

// clean removes topics, groups and state of earlier runs. The commands stay.
func (s *session) clean(ctx context.Context) error {
	topics, err := s.admin.Topics(ctx)
	if err != nil {
		return err
	}
	var old []string
	for _, topic := range topics {
		if topic != commandsTopic {
			old = append(old, topic)
		}
	}
	states, _ := filepath.Glob(filepath.Join(s.dir, "state-*"))
	errs := []error{s.admin.DeleteTopics(ctx, old...), s.forgetTidemill(ctx)}
	for _, dir := range states {
		errs = append(errs, os.RemoveAll(dir))
	}
	_ = os.Remove(s.logFile())
	return errors.Join(errs...)
}

// forgetTidemill removes the calculator's group, whose name is the same in each run.
func (s *session) forgetTidemill(ctx context.Context) error {
	return errors.Join(s.removeMembers(ctx, tidemillGroup), s.admin.DeleteGroup(ctx, tidemillGroup))
}

func (s *session) logFile() string { return filepath.Join(s.dir, "contender.log") }

// logTail is the end of what the last contender wrote to its standard error.
func (s *session) logTail() string {
	text, _ := os.ReadFile(s.logFile())
	return string(text[max(0, len(text)-3000):])
}

// start starts a processor with its topics there.
func (s *session) start(ctx context.Context, p *processor) (*process, error) {
	if p.kind != kindTidemill {
		for _, topic := range []string{p.events, p.rejection} {
			if _, err := s.admin.EnsureTopic(ctx, log.TopicSpec{Name: topic, Partitions: s.partitions, Config: forever}); err != nil {
				return nil, err
			}
		}
	}
	cmd, err := p.command()
	if err != nil {
		return nil, err
	}
	return startProcess(cmd, s.logFile(), p.memory)
}

var forever = map[string]string{"retention.ms": "-1", "retention.bytes": "-1"}

// producer writes commands.
func (s *session) producer(opts ...kgo.Opt) (*kgo.Client, error) {
	return log.NewProducer(log.Config{Brokers: s.broker.Brokers()}, opts...)
}
