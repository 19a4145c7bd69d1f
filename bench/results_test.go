package main

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sample are results of three rounds in which the goals for CPU and wall time are met, and that for memory is not.
func sample() *results {
	r := &results{Machine: map[string]string{"cores": "2"}, Versions: map[string]string{"go": "go1"}, Scale: map[string]int{"commands": 1000000, "keys": 100000, "state": 1000000}}
	for round, cpu := range []float64{6, 4, 5} {
		r.add("throughput", "tidemill", round, 0, map[string]float64{"cpu_s": cpu, "wall_s": 4, "memory_mb": 200, "sum": 7})
		r.add("throughput", "streams", round, 0, map[string]float64{"cpu_s": 24, "wall_s": 13, "memory_mb": 400, "sum": 7})
		r.add("throughput", "streams-tuned", round, 0, map[string]float64{"cpu_s": 18, "wall_s": 3, "memory_mb": 300, "sum": 7})
	}
	r.add("state", "tidemill", 0, 0, map[string]float64{"running_s": 0.4})
	r.add("keys", "tidemill", 0, 1000, map[string]float64{"cpu_us": 5})
	return r
}

func TestGoals(t *testing.T) {
	r := sample()
	got := map[string]string{}
	for _, g := range goals {
		got[g.work+" "+g.name+" "+g.peerWork] = g.judge(r).met()
	}
	for name, want := range map[string]string{
		"throughput cpu_s ":           "met",
		"throughput wall_s ":          "**not met**: tuned it is better",
		"throughput memory_mb ":       "**not met**",
		"latency p50_ms ":             "not measured",
		"state running_s ":            "met",
		"state running_s state-small": "not measured",
		"large per_s throughput":      "not measured",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	if median, _ := r.median("throughput", "tidemill", "cpu_s"); median != 5 {
		t.Errorf("the median of 6, 4 and 5 is %v", median)
	}
}

func TestReport(t *testing.T) {
	r := sample()
	text := r.markdown()
	for _, want := range []string{
		"1,000,000 commands over 100,000 keys", "| 5 s | 24 s | 18 s | 0.208 | ≤ ¼ | met |", "5 (4–6)", "Tidemill, exactly once, 1,000",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report has no %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "differ") {
		t.Error("it says that events differ, and they do not")
	}
	r.add("throughput", "goka", 0, 0, map[string]float64{"sum": 8})
	if !strings.Contains(r.markdown(), "events differ: goka") {
		t.Error("it does not say that goka's events differ")
	}
}

func TestResultsAreAddedTo(t *testing.T) {
	out := filepath.Join(t.TempDir(), "r")
	if err := sample().save(out); err != nil {
		t.Fatal(err)
	}
	r, err := loadResults(out)
	if err != nil {
		t.Fatal(err)
	}
	if r.round("throughput", "tidemill", 0) != 3 || r.round("keys", "tidemill", 1000) != 1 || r.round("keys", "tidemill", 10) != 0 {
		t.Errorf("rounds of what was saved: %+v", r.Runs)
	}
	if got := r.points("keys", "tidemill"); !slices.Equal(got, []int{1000}) {
		t.Errorf("points %v", got)
	}
	r.add("large", "tidemill", 0, 0, map[string]float64{"keys": 1e7, "cpu_us": 9})
	dir := t.TempDir()
	if err := r.plots(dir); err != nil {
		t.Error(err)
	}
	if chart, err := os.ReadFile(filepath.Join(dir, "keys.svg")); err != nil || !strings.Contains(string(chart), ">10M<") || !strings.Contains(string(chart), ">1k<") {
		t.Errorf("the chart over keys, from 1,000 to those of the large state: %v\n%s", err, chart)
	}
}

func TestResultsOfAnotherSize(t *testing.T) {
	r := sample()
	if err := r.comparable(presets["main"]); err != nil {
		t.Error(err)
	}
	if err := r.comparable(presets["quick"]); !errors.Is(err, errScale) {
		t.Errorf("a quick run may be added to a whole one: %v", err)
	}
	if err := r.comparable(presets["growth"]); err != nil {
		t.Errorf("curves may not be added: %v", err)
	}
}

func TestNumbers(t *testing.T) {
	for value, want := range map[float64]string{0.12345: "0.123", 999.4: "999", 1000: "1,000", 1234567.8: "1,234,568", 0: "0"} {
		if got := number(value); got != want {
			t.Errorf("%v is shown as %s, want %s", value, got, want)
		}
	}
}

func TestTurned(t *testing.T) {
	list := presets["main"].contendersOf(works["latency"])
	firsts := map[string]bool{}
	for round := range len(list) {
		turn := turned(list, round)
		if len(turn) != len(list) {
			t.Fatalf("%d contenders in round %d", len(turn), round)
		}
		firsts[turn[0].name] = true
	}
	if len(firsts) != len(list) {
		t.Errorf("%d of %d contenders are ever first", len(firsts), len(list))
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-preset", "none"}, {"-work", "none"}, {"-contenders", "none"}, {"-summary"}, {"-rounds", "x"}, {"-points", "1,x"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
	o, err := parse([]string{"-work", "latency,get", "-rounds", "7", "-out", "x"})
	if err != nil || o.rounds != 7 || !slices.Equal(o.works, []string{"latency", "get"}) {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err = parse([]string{"-work", "keys,partitions", "-points", "1000,64", "-rounds", "1", "-out", "x"}); err != nil || o.count() != 4 {
		t.Errorf("two points of two curves, with two contenders each: %d runs, %v", o.count(), err)
	}
	for name, p := range presets {
		for _, work := range p.works {
			if len(p.contendersOf(works[work])) == 0 {
				t.Errorf("preset %s has nobody for %s", name, work)
			}
		}
	}
}

func TestReadAnswer(t *testing.T) {
	answers := bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nContent-Type: x\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"))
	if err := readAnswer(answers, "200"); err != nil {
		t.Error(err)
	}
	if err := readAnswer(answers, "200"); err == nil {
		t.Error("a 503 is taken for a 200")
	}
}
