package kafkatest

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/porttest"
)

// newClusterID returns a uuid in Kafka's base64 form.
func newClusterID() string {
	var id [16]byte
	rand.Read(id[:])
	id[0] &= 0x3f // Kafka's begin with no dash
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// portAttempts is how many times a broker is started: its ports were free a moment before, and test binaries that run at the
// same time may have taken one.
const portAttempts = 3

// RealOwn starts a real Kafka that only this test uses.
func RealOwn(t testing.TB, o Options) *Process {
	t.Helper()
	if reason := missing(); reason != "" {
		skip(t, reason)
	}
	p := &Process{Broker: Broker{kind: KindReal, own: t.TempDir()}}
	if o.TLS {
		p.Certificates = NewCertificates(t)
	}
	for attempt := 1; ; attempt++ {
		err := p.prepareReal(o)
		if err == nil {
			err = p.start()
		}
		if err == nil {
			t.Cleanup(p.kill)
			return p
		}
		if !errors.Is(err, errEnded) || attempt == portAttempts {
			t.Fatalf("kafkatest: %v", err)
		}
		// The next attempt has other ports, and its own data.
		p.node, p.cluster, p.own = 0, "", t.TempDir()
	}
}

// StartReal starts a real Kafka, with its data in dir, for a program that is no
// test but belongs to them, such as the benchmark. Close ends it; it ends with
// the program in any case.
func StartReal(dir string, o Options) (*Process, error) {
	if reason := missing(); reason != "" {
		return nil, fmt.Errorf("no real Kafka: %s", reason)
	}
	p := &Process{Broker: Broker{kind: KindReal, own: dir}}
	if err := p.prepareReal(o); err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	return p, nil
}

// Close ends a broker that StartReal has started. Its data stays.
func (p *Process) Close() { p.kill() }

// Beside starts another broker of a real broker's cluster, one without a controller. Partitions that are assigned to it alone
// have no leader while it is stopped or paused, and the cluster goes on without it. Its node id is 2.
func (p *Process) Beside(t testing.TB) *Process {
	t.Helper()
	other := &Process{Broker: Broker{kind: KindReal, own: t.TempDir()}, controller: p.controller, cluster: p.cluster, node: 2}
	if err := other.prepareReal(Options{}); err != nil {
		t.Fatalf("kafkatest: %v", err)
	}
	other.Start(t)
	t.Cleanup(other.kill)
	return other
}

// prepareReal writes the broker's configuration and formats its storage.
func (p *Process) prepareReal(o Options) error {
	jars, err := libs()
	if err != nil {
		return err
	}
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	p.addr = fmt.Sprintf("127.0.0.1:%d", ports[0])
	if p.node == 0 {
		p.node, p.controller, p.cluster = 1, ports[1], newClusterID()
	}
	if err := p.clientOptions(o); err != nil {
		return err
	}
	properties := p.properties(o)
	var text strings.Builder
	for _, k := range slices.Sorted(maps.Keys(properties)) {
		fmt.Fprintf(&text, "%s=%s\n", k, properties[k])
	}
	conf, logging := filepath.Join(p.own, "server.properties"), filepath.Join(p.own, "log4j2.properties")
	if err := os.WriteFile(conf, []byte(text.String()), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(logging, []byte(log4j), 0o644); err != nil {
		return err
	}
	p.logFile = filepath.Join(p.own, "broker.log")
	java := []string{"-Dlog4j2.configurationFile=" + logging, "-cp", filepath.Join(jars, "*")}
	format := append(slices.Clone(java), "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "-t", p.cluster, "-c", conf)
	for _, name := range slices.Sorted(maps.Keys(o.Features)) {
		format = append(format, "--feature", fmt.Sprintf("%s=%d", name, o.Features[name]))
	}
	for _, u := range o.Users {
		if strings.HasPrefix(u.Mechanism, "SCRAM") {
			format = append(format, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", u.Mechanism, u.Name, u.Password))
		}
	}
	if out, err := exec.Command("java", format...).CombinedOutput(); err != nil {
		return fmt.Errorf("formatting Kafka's storage: %w\n%s", err, out)
	}
	p.command = func() *exec.Cmd {
		return exec.Command("java", slices.Concat([]string{"-Xmx512m", "-XX:+UseSerialGC"}, java, []string{"kafka.Kafka", conf})...)
	}
	return nil
}

const log4j = `status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
`

func (p *Process) properties(o Options) map[string]string {
	listener := "PLAINTEXT"
	switch {
	case o.TLS && len(o.Users) > 0:
		listener = "SASL_SSL"
	case o.TLS:
		listener = "SSL"
	case len(o.Users) > 0:
		listener = "SASL_PLAINTEXT"
	}
	properties := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        strconv.Itoa(p.node),
		"controller.quorum.voters":       fmt.Sprintf("1@127.0.0.1:%d", p.controller),
		"listeners":                      fmt.Sprintf("CLIENT://%s,CONTROLLER://127.0.0.1:%d", p.addr, p.controller),
		"advertised.listeners":           "CLIENT://" + p.addr,
		"listener.security.protocol.map": "CLIENT:" + listener + ",CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT",
		"controller.listener.names":      "CONTROLLER",
		"inter.broker.listener.name":     "CLIENT",
		"log.dirs":                       filepath.Join(p.own, "data"),

		"offsets.topic.num.partitions":                     "4",
		"offsets.topic.replication.factor":                 "1",
		"transaction.state.log.num.partitions":             "4",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
		"group.initial.rebalance.delay.ms":                 "0",
		"group.min.session.timeout.ms":                     "1000",
		"broker.session.timeout.ms":                        "2000", // a killed broker may come back after this
		"broker.heartbeat.interval.ms":                     "500",
		"auto.create.topics.enable":                        "false",
		"log.cleaner.backoff.ms":                           "1000",
		"num.network.threads":                              "2",
		"num.io.threads":                                   "4",
		"num.recovery.threads.per.data.dir":                "2",
	}
	if p.node != 1 {
		properties["process.roles"], properties["listeners"] = "broker", "CLIENT://"+p.addr
	}
	if len(o.Users) > 0 {
		p.internalListener(properties)
		saslProperties(properties, o.Users)
	}
	if o.TLS {
		properties["ssl.keystore.type"] = "PEM"
		properties["ssl.keystore.location"] = p.Certificates.ServerPEM
		properties["ssl.truststore.type"] = "PEM"
		properties["ssl.truststore.location"] = p.Certificates.CAFile
		if o.ClientCertificates {
			properties["listener.name.client.ssl.client.auth"] = "required"
		}
		if len(o.Users) == 0 {
			p.internalListener(properties)
		}
	}
	maps.Copy(properties, o.Properties)
	return properties
}

// internalListener gives the broker a plain way to itself, so that it need not
// authenticate as one of the test's users.
func (p *Process) internalListener(properties map[string]string) {
	ports, err := freePorts(1)
	if err != nil {
		return // the broker will say that it has no such listener
	}
	own := fmt.Sprintf(",INTERNAL://127.0.0.1:%d", ports[0])
	properties["listeners"] += own
	properties["advertised.listeners"] += own
	properties["inter.broker.listener.name"] = "INTERNAL"
}

func saslProperties(properties map[string]string, users []broker.User) {
	var plain strings.Builder
	mechanisms := map[string]bool{}
	for _, u := range users {
		mechanisms[u.Mechanism] = true
		if u.Mechanism == "PLAIN" {
			fmt.Fprintf(&plain, " user_%s=%q", u.Name, u.Password)
		}
	}
	names := slices.Sorted(maps.Keys(mechanisms))
	properties["sasl.enabled.mechanisms"] = strings.Join(names, ",")
	for _, m := range names {
		module := "org.apache.kafka.common.security.scram.ScramLoginModule required;"
		if m == "PLAIN" {
			module = "org.apache.kafka.common.security.plain.PlainLoginModule required" + plain.String() + ";"
		}
		properties["listener.name.client."+strings.ToLower(m)+".sasl.jaas.config"] = module
	}
}

func freePorts(n int) (ports []int, err error) {
	for range n {
		port, err := porttest.Take()
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}
