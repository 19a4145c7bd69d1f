package main

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
)

// The kinds of contenders.
const (
	kindTidemill = "tidemill"
	kindStreams  = "streams"
	kindGoka     = "goka"
	kindHandler  = "handler" // an HTTP handler in a process of its own
)

// contender is one who is measured.
type contender struct {
	name     string
	title    string
	kind     string
	exact    bool                // exactly once: what it writes is transactional
	settings []string            // of Kafka Streams, for every work
	tuned    map[string][]string // and by work
	java     []string            // of its JVM
}

// The defaults of Kafka Streams, and what one would set for the test in question. Threads are as many as there are cores in
// both, which its default (1) is not.
var contenders = map[string]contender{
	"tidemill":     {title: "Tidemill, exactly once", kind: kindTidemill, exact: true},
	"tidemill-alo": {title: "Tidemill, at least once", kind: kindTidemill},
	"streams":      {title: "Kafka Streams, exactly once, defaults", kind: kindStreams, exact: true},
	"streams-tuned": {
		title: "Kafka Streams, exactly once, tuned", kind: kindStreams, exact: true, java: tunedJava, settings: tunedMember, tuned: tunedFor,
	},
	"streams-alo": {title: "Kafka Streams, at least once, defaults", kind: kindStreams},
	"streams-alo-tuned": {
		title: "Kafka Streams, at least once, tuned", kind: kindStreams, java: tunedJava, settings: tunedMember, tuned: tunedFor,
	},
	"goka":      {title: "goka 1.1.16 (nothing promised in a crash)", kind: kindGoka},
	"view":      {title: "view", kind: kindHandler},
	"bare-get":  {title: "bare net/http handler", kind: kindHandler},
	"commander": {title: "commander", kind: kindHandler},
	"bare-post": {title: "bare handler that produces", kind: kindHandler},
}

var (
	tunedJava   = []string{"-XX:+UseSerialGC", "-Xmx512m"}
	tunedMember = []string{"consumer.group.instance.id=bench", "consumer.session.timeout.ms=6000", "consumer.heartbeat.interval.ms=1000"}
	throughput  = []string{
		"commit.interval.ms=1000", "bench.caching=true", "statestore.cache.max.bytes=67108864",
		"producer.linger.ms=50", "producer.batch.size=262144", "consumer.max.poll.records=5000", "consumer.fetch.min.bytes=1",
	}
	tunedFor = map[string][]string{
		"throughput": throughput, "state": throughput, "state-small": throughput, "large": throughput,
		"latency": {"commit.interval.ms=10", "producer.linger.ms=0", "consumer.fetch.max.wait.ms=100"},
	}
)

func contenderNames() []string { return slices.Sorted(maps.Keys(contenders)) }

// tidemillGroup is the consumer group of the calculator.
const tidemillGroup = "calculator-commands"

// processor is a contender's processor in one run: its names in Kafka and its directory.
type processor struct {
	contender
	session           *session
	work              string
	group             string // consumer group
	events, rejection string // topics
	changelog         string
	dir               string
	instance          string // Tidemill's
	sizes             bool   // runs the topology of value sizes instead of the calculator
	memory            int64  // what Tidemill may have, bytes; 0 for any amount
	env               []string
}

// processor returns a new one with empty state. Tidemill's names are those of its calculator; the others' are new in each
// run, so that nothing of an earlier one is in the way.
func (s *session) processor(c contender, work string) *processor {
	s.runs++
	p := &processor{contender: c, session: s, work: work, dir: filepath.Join(s.dir, fmt.Sprintf("state-%d", s.runs)), instance: "bench"}
	switch c.kind {
	case kindTidemill:
		p.group, p.events, p.rejection, p.changelog = tidemillGroup, "calculator-events", "calculator-rejections", "calculator-values-changelog"
	case kindStreams:
		p.group = fmt.Sprintf("streams-%d", s.runs)
		p.events, p.rejection, p.changelog = p.group+"-events", p.group+"-rejections", p.group+"-values-changelog"
	case kindGoka:
		p.group = fmt.Sprintf("goka-%d", s.runs)
		p.events, p.rejection, p.changelog = p.group+"-events", p.group+"-rejections", p.group+"-table"
	}
	return p
}

// command is how the processor is started.
func (p *processor) command() (*exec.Cmd, error) {
	broker := p.session.broker.Addr()
	var cmd *exec.Cmd
	switch p.kind {
	case kindStreams:
		classes := filepath.Join(p.session.cache, "kafka-streams", "classes")
		jars := filepath.Join(p.session.cache, "kafka-streams", "libs", "*")
		args := append(slices.Clone(p.java), "-cp", classes+":"+jars, "tidemill.bench.Calculator",
			"bootstrap.servers="+broker, "application.id="+p.group, "state.dir="+p.dir,
			"num.stream.threads="+strconv.Itoa(runtime.NumCPU()), "replication.factor=1",
			"processing.guarantee="+p.guarantee(), "consumer.auto.offset.reset=earliest",
			"bench.commands="+commandsTopic, "bench.events="+p.events, "bench.rejections="+p.rejection)
		args = append(append(args, p.settings...), p.tuned[p.work]...)
		cmd = exec.Command("java", args...)
	case kindGoka:
		cmd = exec.Command(filepath.Join(p.session.cache, "goka"), "-broker", broker, "-commands", commandsTopic,
			"-events", p.events, "-rejections", p.rejection, "-group", p.group, "-state", p.dir)
	default:
		var err error
		cmd, err = childCommand(childSpec{
			Mode: "processor", Broker: broker, Dir: p.dir, Guarantee: p.guarantee(), Profile: p.session.profile(p.work),
			Instance: p.instance, Sizes: p.sizes, Partitions: p.session.partitions, Memory: p.memory + p.memory/4,
		})
		if err != nil {
			return nil, err
		}
	}
	cmd.Env = append(cmd.Environ(), p.env...)
	return cmd, nil
}

// guarantee by the name that the contender has for it.
func (p *processor) guarantee() string {
	switch {
	case p.kind == kindStreams && p.exact:
		return "exactly_once_v2"
	case p.kind == kindStreams:
		return "at_least_once"
	case p.exact:
		return "exactly-once"
	}
	return "at-least-once"
}
