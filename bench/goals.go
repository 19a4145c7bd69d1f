package main

import "fmt"

// goal is one row of the table: a figure of ours against the defaults of Kafka Streams, a handler, or a bound.
type goal struct {
	title      string
	work, name string
	unit       string
	ours       string
	peer       string  // whose figure it is compared with; empty compares with 1 of the unit
	tuned      string  // who must be beaten besides
	peerWork   string  // empty is the same work
	most       float64 // ours ÷ peer's may be at most this
	least      float64 // or at least this
	said       string  // the goal in words
}

// goals are those of the project, in the order of its table.
var goals = []goal{
	{title: "%[1]s commands over %[2]s keys, exactly once: CPU of the processor", work: "throughput", name: "cpu_s", unit: "s", ours: "tidemill", peer: "streams", tuned: "streams-tuned", most: 0.25, said: "≤ ¼"},
	{title: "same: wall time, start included", work: "throughput", name: "wall_s", unit: "s", ours: "tidemill", peer: "streams", tuned: "streams-tuned", most: 0.4, said: "≤ 0.4"},
	{title: "same: peak memory", work: "throughput", name: "memory_mb", unit: "MB", ours: "tidemill", peer: "streams", tuned: "streams-tuned", most: 0.4, said: "≤ 0.4"},
	{title: "command → readable event at 100/s, exactly once: p50", work: "latency", name: "p50_ms", unit: "ms", ours: "tidemill", peer: "streams", tuned: "streams-tuned", most: 1.0 / 14, said: "≤ 1/14"},
	{title: "same: p99", work: "latency", name: "p99_ms", unit: "ms", ours: "tidemill", peer: "streams", tuned: "streams-tuned", most: 1.0 / 8, said: "≤ 1/8"},
	{title: "restore of %[3]s changelog records, empty disk", work: "state", name: "restore_s", unit: "s", ours: "tidemill", peer: "streams", tuned: "streams-tuned", most: 0.5, said: "≤ ½"},
	{title: "running again after kill -9, %[3]s records of state, disk kept", work: "state", name: "running_s", unit: "s", ours: "tidemill", tuned: "streams-tuned", most: 1, said: "≤ 1 s"},
	{title: "same, against a tenth of the state", work: "state", name: "running_s", unit: "s", ours: "tidemill", peer: "tidemill", peerWork: "state-small", most: 1.3, said: "≤ 1.3"},
	{title: "large state in 512 MB: throughput against the small run's", work: "large", name: "per_s", unit: "/s", ours: "tidemill", peer: "tidemill", peerWork: "throughput", least: 0.5, said: "≥ ½"},
	{title: "same: peak memory of the processor", work: "large", name: "memory_mb", unit: "MB", ours: "tidemill", most: 512, said: "≤ 512 MB"},
	{title: "view GET by key, keep-alive, all cores: requests a second against a bare handler", work: "get", name: "per_s", unit: "/s", ours: "view", peer: "bare-get", least: 0.7, said: "≥ 70 %"},
	{title: "command POST acknowledged by the log, 64 clients, against a bare handler", work: "post", name: "per_s", unit: "/s", ours: "commander", peer: "bare-post", least: 0.7, said: "≥ 70 %"},
}

// verdict is a goal with its figures.
type verdict struct {
	goal
	have, known bool // ours, and all that it is compared with
	value       float64
	against     float64
	ratio       float64
	beaten      bool
	tunedValue  float64
	hasTuned    bool
}

func (g goal) judge(r *results) verdict {
	v := verdict{goal: g, beaten: true, against: 1}
	v.value, v.have = r.median(g.work, g.ours, g.name)
	v.known = v.have
	if g.peer != "" {
		work := g.work
		if g.peerWork != "" {
			work = g.peerWork
		}
		var found bool
		v.against, found = r.median(work, g.peer, g.name)
		v.known = v.known && found
	}
	if v.known && v.against != 0 {
		v.ratio = v.value / v.against
	}
	if g.tuned != "" {
		if v.tunedValue, v.hasTuned = r.median(g.work, g.tuned, g.name); v.hasTuned {
			v.beaten = v.value < v.tunedValue
		}
	}
	return v
}

// met tells whether the goal is met: yes, no, or not measured.
func (v verdict) met() string {
	switch {
	case !v.known:
		return "not measured"
	case v.most > 0 && v.ratio > v.most, v.least > 0 && v.ratio < v.least:
		return "**not met**"
	case !v.beaten:
		return "**not met**: tuned it is better"
	}
	return "met"
}

// cells are the row of the Markdown table.
func (v verdict) cells(r *results) []string {
	title := fmt.Sprintf(v.title+"%[4]s", grouped(r.Scale["commands"]), grouped(r.Scale["keys"]), grouped(r.Scale["state"]), "")
	ours, peer, tuned, ratio := "–", "–", "–", "–"
	if v.have {
		ours = figure(v.value, v.unit)
	}
	if v.peer != "" && v.known {
		peer, ratio = figure(v.against, v.unit), fmt.Sprintf("%.3g", v.ratio)
	}
	if v.peer == "" && v.tuned != "" {
		if value, found := r.median(v.work, "streams", v.name); found {
			peer, ratio = figure(value, v.unit), fmt.Sprintf("%.3g", v.value/value)
		}
	}
	if v.hasTuned {
		tuned = figure(v.tunedValue, v.unit)
	}
	return []string{title, ours, peer, tuned, ratio, v.said, v.met()}
}
