package topology_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/topology/topologytest"
)

// oracleCases are the topologies of test/oracle/Oracle.java, said in this DSL.
var oracleCases = map[string]func(b *topology.Builder, in texts){
	"filter":    func(_ *topology.Builder, in texts) { in.Filter(evenText).To(textTopic("out")) },
	"filterNot": func(_ *topology.Builder, in texts) { in.FilterNot(evenText).To(textTopic("out")) },
	"mapValues": func(_ *topology.Builder, in texts) { in.MapValues(exclaim).To(textTopic("out")) },
	"selectKey": func(_ *topology.Builder, in texts) { in.SelectKey(groupOf).To(textTopic("out")) },
	"flatMapValues": func(_ *topology.Builder, in texts) {
		in.DropTombstones().FlatMapValues(splitByOne).To(textTopic("out"))
	},
	"map": func(_ *topology.Builder, in texts) {
		in.Map(func(k, v string) (string, string) { return groupOf(k, v), k + v }).To(textTopic("out"))
	},
	"flatMap": func(_ *topology.Builder, in texts) {
		in.FlatMap(func(k, v string) []topology.KeyValue[string, string] {
			return []topology.KeyValue[string, string]{{Key: v, Value: k}, {Key: k, Value: v}}
		}).To(textTopic("out"))
	},
	"merge": func(b *topology.Builder, in texts) {
		in.Filter(evenText).Merge(in.MapValues(exclaim), b.From(textTopic("other"))).To(textTopic("out"))
	},
	"split": func(_ *topology.Builder, in texts) {
		parts := in.DropTombstones().Split()
		parts.Branch(evenText).To(textTopic("even"))
		parts.Branch(func(_, v string) bool { return len(v) > 1 }).To(textTopic("long"))
		parts.Default().To(textTopic("out"))
	},
	"repartition": func(_ *topology.Builder, in texts) {
		in.SelectKey(groupOf).Repartition("again", nil, nil).To(textTopic("out"))
	},
	"toTable": func(_ *topology.Builder, in texts) { in.ToTable("rows").ToStream().To(textTopic("out")) },
	"toTableRekeyed": func(_ *topology.Builder, in texts) {
		in.SelectKey(groupOf).ToTable("rows").ToStream().To(textTopic("out"))
	},
	"table": func(b *topology.Builder, in texts) {
		in.ForEach(func(string, string) {})
		b.Table(textTopic("other"), "rows").ToStream().To(textTopic("out"))
	},
	"count": func(_ *topology.Builder, in texts) { in.GroupByKey().Count("rows").ToStream().To(numbersOut) },
	"countBy": func(_ *topology.Builder, in texts) {
		in.GroupBy(groupOf, codecs.String()).Count("rows").ToStream().To(numbersOut)
	},
	"reduce": func(_ *topology.Builder, in texts) {
		in.GroupByKey().Reduce("rows", plus).ToStream().To(textTopic("out"))
	},
	"aggregate": func(_ *topology.Builder, in texts) {
		in.GroupByKey().Aggregate("rows", func() int64 { return 100 }, addText, codecs.Int64()).ToStream().To(numbersOut)
	},
	"tableMapValues": func(_ *topology.Builder, in texts) {
		in.ToTable("rows").MapValues(exclaim).ToStream().To(textTopic("out"))
	},
	"tableFilter": func(_ *topology.Builder, in texts) {
		kept := in.ToTable("rows").Filter(evenText)
		kept.ToStream().To(textTopic("out"))
		kept.GroupBy(groupRow, codecs.String(), codecs.String()).Count("grouped").ToStream().To(numbersOut)
	},
	"tableFilterMaterialized": func(_ *topology.Builder, in texts) {
		kept := in.ToTable("rows").MapValues(func(v string) string { return v + "0" }).
			FilterNot(func(_, v string) bool { return len(v) > 2 }).Materialize("kept")
		kept.ToStream().To(textTopic("out"))
		kept.GroupBy(func(_, v string) (string, string) { return "all", v }, codecs.String(), codecs.String()).
			Count("grouped").ToStream().To(numbersOut)
	},
	"tableCount": func(_ *topology.Builder, in texts) {
		in.ToTable("rows").GroupBy(groupRow, codecs.String(), codecs.String()).Count("grouped").ToStream().To(numbersOut)
	},
	"tableReduce": func(_ *topology.Builder, in texts) {
		minus := func(a, v string) string { return a + "-" + v }
		in.ToTable("rows").GroupBy(groupRow, codecs.String(), codecs.String()).Reduce("grouped", plus, minus).ToStream().To(textTopic("out"))
	},
	"tableAggregate": func(_ *topology.Builder, in texts) {
		in.ToTable("rows").GroupBy(groupRow, codecs.String(), codecs.String()).
			Aggregate("grouped", func() int64 { return 0 }, addText, func(_, v string, a int64) int64 { return a - addText("", v, 0) }, codecs.Int64()).
			ToStream().To(numbersOut)
	},
	"tableFilterAlone": func(_ *topology.Builder, in texts) {
		in.ToTable("rows").Filter(evenText).ToStream().To(textTopic("out"))
	},
	"punctuate": func(_ *topology.Builder, in texts) {
		in.Process("tell", func(c *textContext) textProcessor {
			records := 0
			tell := func(kind string) func(int64) error {
				return func(int64) error { c.Forward(kind, strconv.Itoa(records)); return nil }
			}
			c.Schedule(topology.StreamTime, 30*time.Millisecond, tell("stream"))
			c.Schedule(topology.WallClockTime, 50*time.Millisecond, tell("wall"))
			return func(textRecord) error { records++; return nil }
		}).To(textTopic("out"))
	},
	"rowsCount": func(_ *topology.Builder, in texts) {
		inRows(in).GroupWithin(partitionOf, codecs.String(), codecs.String()).Count("grouped").ToStream().To(numbersOut)
	},
	"rowsReduce": func(_ *topology.Builder, in texts) {
		minus := func(a, v string) string { return a + "-" + v }
		inRows(in).GroupWithin(partitionOf, codecs.String(), codecs.String()).Reduce("grouped", plus, minus).ToStream().To(textTopic("out"))
	},
	"reduceOfReduces": func(_ *topology.Builder, in texts) {
		in.GroupByKey().Reduce("rows", func(_, v string) string { return v }).GroupBy(groupRow, codecs.String(), codecs.String()).
			Reduce("grouped", plus, func(a, v string) string { return a + "-" + v }).ToStream().To(textTopic("out"))
	},
}

// textRow is a row of a group and a key within it.
type textRow = codecs.Row[string, string]

var rowCodec = codecs.Rows(codecs.OrderedString(), codecs.OrderedString())

// inRows has the records as rows by their group, in which those of one key follow its latest value.
func inRows(in texts) topology.Table[textRow, string] {
	return in.ToTable("rows").ToRows("by-group", func(k, v string) (textRow, string) {
		return textRow{Partition: groupOf(k, v), Sort: k}, v
	}, rowCodec, codecs.String())
}

func partitionOf(r textRow, v string) (_, _ string) { return r.Partition, v }

var numbersOut = topology.NewTopic("counts", codecs.String(), codecs.Int64())

func evenText(_, v string) bool          { return addText("", v, 0)%2 == 0 }
func exclaim(v string) string            { return v + "!" }
func groupOf(_, v string) string         { return "g" + strconv.FormatInt(addText("", v, 0)%3, 10) }
func groupRow(k, v string) (_, _ string) { return groupOf(k, v), v }
func plus(a, v string) string            { return a + "+" + v }

// splitByOne splits as Java does: trailing empty parts are left away.
func splitByOne(v string) []string {
	parts := strings.Split(v, "1")
	for len(parts) > 1 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	if len(parts) == 1 && parts[0] == "" && v != "" {
		return nil
	}
	return parts
}

// oracleInput is one record of a random script, "~" being null, or wall-clock time that passes.
type oracleInput struct {
	topic, key, value string
	timestamp         int64
	tick              int64 // milliseconds; 0 for a record
}

// oracleKeys is the number of keys in a script.
const oracleKeys = 5

// TestOracle pipes random records through the same topologies here and in Kafka Streams' TopologyTestDriver and compares
// what comes out: keys, values, timestamps and headers, record by record.
func TestOracle(t *testing.T) {
	got, want := compareWithOracle(t, oracleCases)
	for name := range oracleCases {
		t.Run(name, func(t *testing.T) {
			if got[name] != want[name] {
				t.Error(firstDifference(got[name], want[name]))
			}
			if strings.Count(got[name], "\n") < 10 {
				t.Errorf("only\n%s\ncame out", got[name])
			}
		})
	}
}

// TestOracleDifferences holds where we differ from Kafka Streams, and why: docs/dsl.md says so too.
func TestOracleDifferences(t *testing.T) {
	got, want := compareWithOracle(t, map[string]func(b *topology.Builder, in texts){
		"countOfCounts": func(_ *topology.Builder, in texts) {
			in.GroupByKey().Count("rows").GroupBy(func(_ string, n int64) (string, int64) {
				return map[bool]string{true: "even", false: "odd"}[n%2 == 0], n
			}, codecs.String(), codecs.Int64()).Count("grouped").ToStream().To(numbersOut)
		},
	})
	// Kafka Streams says of the first record of a key that its old count was 0, the initializer's value, and takes that 0,
	// which was never added, out of its group. Here a row that was not there has no old value: the two groups together
	// always count the keys.
	groups := map[string]int64{}
	for line := range strings.Lines(got["countOfCounts"]) {
		var group string
		var n int64
		if _, err := fmt.Sscanf(strings.Replace(line, "=", " ", 1), "counts %s %d", &group, &n); err != nil {
			t.Fatal(err)
		}
		groups[group] = n
	}
	if groups["even"]+groups["odd"] != oracleKeys {
		t.Errorf("%d keys have %v counts", oracleKeys, groups)
	}
	if strings.HasPrefix(want["countOfCounts"], "counts odd=1") {
		t.Errorf("Kafka Streams begins with\n%.60s\nas we do; the difference is gone", want["countOfCounts"])
	}
}

// TestOracleRows compares rows, which Kafka Streams has as aggregates under composed keys: whose timestamps are the greatest of
// all that went into them, where a row has that of the record it is made of, as it has in toTable. So they are left out.
func TestOracleRows(t *testing.T) {
	times := regexp.MustCompile(` at \d+ `)
	got, want := compareWithOracle(t, map[string]func(b *topology.Builder, in texts){
		"rows": func(_ *topology.Builder, in texts) {
			inRows(in).ToStream().To(topology.NewTopic("out", rowCodec, codecs.String()))
		},
		"rowsWithin": func(_ *topology.Builder, in texts) {
			inRows(in).ToRowsWithin("by-value", func(r textRow, v string) (textRow, string) {
				return textRow{Partition: r.Partition, Sort: v + "/" + r.Sort}, v
			}, rowCodec, codecs.String()).ToStream().To(topology.NewTopic("out", rowCodec, codecs.String()))
		},
	})
	for name := range got {
		here, there := times.ReplaceAllString(got[name], " "), times.ReplaceAllString(want[name], " ")
		if here != there {
			t.Errorf("%s: %s", name, firstDifference(here, there))
		}
		if strings.Count(here, "\n") < 10 {
			t.Errorf("%s: only\n%s\ncame out", name, here)
		}
	}
}

// compareWithOracle runs each case over random records, here and in Kafka Streams.
func compareWithOracle(t *testing.T, cases map[string]func(b *topology.Builder, in texts)) (got, want map[string]string) {
	t.Helper()
	libs := oracleLibs(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	got = map[string]string{}
	var script strings.Builder
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		fmt.Fprintf(&script, "case %s\n", name)
		var inputs []oracleInput
		for i := range 80 {
			in := randomInput(random, name)
			inputs = append(inputs, in)
			if in.tick > 0 {
				fmt.Fprintf(&script, "tick %d\n", in.tick)
				continue
			}
			fmt.Fprintf(&script, "in %s %s %s %d %d\n", in.topic, in.key, in.value, in.timestamp, i)
		}
		got[name] = runHere(t, cases[name], inputs)
	}
	return got, runOracle(t, libs, script.String())
}

// firstDifference shows where two outputs part.
func firstDifference(got, want string) string {
	here, there := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(here), len(there)) {
		a, b := slices.Concat(here, make([]string, len(there)))[i], slices.Concat(there, make([]string, len(here)))[i]
		if a != b {
			return fmt.Sprintf("after\n%s\nline %d is\n%s\nand Kafka Streams gives\n%s", strings.Join(here[max(0, min(i, len(here))-3):min(i, len(here))], "\n"), i+1, a, b)
		}
	}
	return "no difference"
}

func randomInput(random *rand.Rand, name string) oracleInput {
	in := oracleInput{topic: "in", key: fmt.Sprint("k", random.IntN(oracleKeys)), value: fmt.Sprint(random.IntN(25)), timestamp: 1000 + random.Int64N(200)}
	if (name == "merge" || name == "table") && random.IntN(2) == 0 {
		in.topic = "other"
	}
	if name == "punctuate" && random.IntN(2) == 0 {
		in.tick = 1 + random.Int64N(80)
	}
	if random.IntN(8) == 0 {
		in.value = "~"
	}
	if random.IntN(15) == 0 {
		in.key = "~"
	}
	return in
}

// runHere runs one case in the driver and prints its outputs as Oracle.java does.
func runHere(t *testing.T, define func(b *topology.Builder, in texts), inputs []oracleInput) string {
	t.Helper()
	b := topology.New("oracle")
	define(b, b.From(textTopic("in")))
	d := topologytest.New(t, build(t, b), topologytest.StartAt(1000))
	nullable := func(text string) []byte {
		if text == "~" {
			return nil
		}
		return []byte(text)
	}
	for i, in := range inputs {
		if in.tick > 0 {
			d.Advance(time.Duration(in.tick) * time.Millisecond)
			continue
		}
		d.PipeBytes(in.topic, nullable(in.key), nullable(in.value), topologytest.At(in.timestamp), topologytest.Header("line", fmt.Sprint(i)))
	}
	var out strings.Builder
	printRecords(&out, topologytest.Output(d, numbersOut).ReadAll())
	for _, topic := range []string{"even", "long", "out"} {
		printRecords(&out, topologytest.Output(d, textTopic(topic)).ReadAll())
	}
	return out.String()
}

func printRecords[V any](out *strings.Builder, records []topology.Record[string, V]) {
	for _, r := range records {
		key, value := r.Key, fmt.Sprint(r.Value)
		if r.NullKey {
			key = "null"
		}
		if r.NullValue {
			value = "null"
		}
		fmt.Fprintf(out, "%s %s=%s at %d ", r.Topic, key, value, r.Timestamp)
		for _, header := range r.Headers {
			fmt.Fprintf(out, "%s %s", header.Key, header.Value)
		}
		out.WriteString("\n")
	}
}

// runOracle runs Oracle.java over a script and returns its output by case.
func runOracle(t *testing.T, libs, script string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	java := exec.CommandContext(ctx, "java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dstate.dir="+t.TempDir(), "-cp", filepath.Join(libs, "*"),
		filepath.Join("..", "test", "oracle", "Oracle.java"))
	java.Stdin = strings.NewReader(script)
	var stderr bytes.Buffer
	java.Stderr = &stderr
	stdout, err := java.Output()
	if err != nil {
		t.Fatalf("the oracle failed: %v\n%s", err, stderr.Bytes())
	}
	outputs, name := map[string]string{}, ""
	for line := range strings.Lines(string(stdout)) {
		if after, ok := strings.CutPrefix(line, "case "); ok {
			name = strings.TrimSpace(after)
			continue
		}
		outputs[name] += line
	}
	return outputs
}

// oracleLibs returns the directory of Kafka Streams' jars, fetched on first use. Where that cannot be, the test is skipped,
// in CI failed.
func oracleLibs(t *testing.T) string {
	t.Helper()
	cache, err := filepath.Abs(filepath.Join("..", ".cache", "oracle"))
	if err != nil {
		t.Fatal(err)
	}
	complete := filepath.Join(cache, "complete")
	_, fetched := os.Stat(complete)
	for _, program := range []string{"java", "javac", "mvn"} {
		if _, err := exec.LookPath(program); err != nil && (program != "mvn" || fetched != nil) {
			if os.Getenv("CI") == "true" {
				t.Fatalf("no oracle, and in CI this test may not be skipped: %s is not on the PATH", program)
			}
			t.Skipf("no oracle: %s is not on the PATH (a JDK of version 17 or later and Maven are needed)", program)
		}
	}
	libs, err := fetchOracle(cache, complete)
	if err != nil {
		t.Fatalf("fetching Kafka Streams: %v", err)
	}
	return libs
}

// fetchOracle copies what test/oracle/pom.xml names. Test binaries that run at the same time take turns.
func fetchOracle(cache, complete string) (string, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	pom, libs := filepath.Join("..", "test", "oracle", "pom.xml"), filepath.Join(cache, "libs")
	want, err := os.ReadFile(pom)
	if err != nil {
		return "", err
	}
	if have, err := os.ReadFile(complete); err == nil && bytes.Equal(have, want) {
		return libs, nil
	}
	if err := errors.Join(os.RemoveAll(complete), os.RemoveAll(libs)); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	mvn := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", "-DoutputDirectory="+libs)
	if out, err := mvn.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return libs, os.WriteFile(complete, want, 0o644)
}
