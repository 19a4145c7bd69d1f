package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// markdown is the report: the goals, then every figure.
func (r *results) markdown() string {
	var b strings.Builder
	b.WriteString("# Tidemill against its peers\n\n")
	r.writeOrigin(&b)
	if r.Scale["commands"] > 0 {
		r.writeGoals(&b)
	}
	for _, name := range workOrder {
		r.writeWork(&b, name)
	}
	return b.String()
}

// writeOrigin writes when, on what and with what was measured.
func (r *results) writeOrigin(b *strings.Builder) {
	if n := len(r.Runs); n > 0 {
		fmt.Fprintf(b, "%s – %s, %d runs; medians.\n\n", r.Runs[0].At.Format("2006-01-02 15:04"), r.Runs[n-1].At.Format("15:04 UTC"), n)
	}
	for _, facts := range []map[string]string{r.Machine, r.Versions} {
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(facts)) {
			parts = append(parts, name+" "+facts[name])
		}
		fmt.Fprintf(b, "%s\n\n", strings.Join(parts, " · "))
	}
}

// writeGoals writes the table of the goals.
func (r *results) writeGoals(b *strings.Builder) {
	writeTable(b, []string{"work", "Tidemill", "peer, defaults", "peer, tuned", "ratio", "goal", "met?"}, func(yield func([]string)) {
		for _, g := range goals {
			yield(g.judge(r).cells(r))
		}
	})
	b.WriteString("\nThe peer is Kafka Streams, a bare handler, or Tidemill's own smaller run. The goal is for the ratio to the peer's defaults, or a bound.\n")
	if odd := r.disagreements(); odd != "" {
		b.WriteString("\n**" + odd + "**\n")
	}
}

// workOrder is the order of the report.
var workOrder = []string{"throughput", "latency", "state", "state-small", "large", "get", "post", "keys", "partitions", "instances", "sizes"}

// writeWork writes every figure of one work: median, and the range where there are several runs.
func (r *results) writeWork(b *strings.Builder, name string) {
	columns, contenders := r.columns(name)
	if len(contenders) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", works[name].title)
	header := append([]string{"contender", "runs"}, titles(columns)...)
	if works[name].points != nil {
		header[0] += ", " + name
	}
	writeTable(b, header, func(yield func([]string)) {
		for _, c := range contenders {
			points := r.points(name, c)
			if len(points) == 0 {
				yield(r.cells(name, c, 0, columns))
			}
			for _, point := range points {
				yield(r.cells(name, c, point, columns))
			}
		}
	})
}

// cells are one contender's row.
func (r *results) cells(work, contender string, point int, columns []string) []string {
	cells, runs := []string{contenderTitle(contender), ""}, 0
	if point != 0 {
		cells[0] += ", " + grouped(point)
	}
	for _, column := range columns {
		list := r.valuesAt(work, contender, point, column)
		runs = max(runs, len(list))
		cells = append(cells, spread(list))
	}
	cells[1] = fmt.Sprint(runs)
	return cells
}

func contenderTitle(name string) string {
	if c, known := contenders[name]; known {
		return c.title
	}
	return name
}

// spread is the median and the range.
func spread(list []float64) string {
	median, found := middle(list)
	switch {
	case !found:
		return "–"
	case len(list) == 1 || list[0] == list[len(list)-1]:
		return number(median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(median), number(list[0]), number(list[len(list)-1]))
}

// columns are the values and contenders that a work has.
func (r *results) columns(work string) (columns, names []string) {
	for _, run := range r.Runs {
		if run.Work != work {
			continue
		}
		if !slices.Contains(names, run.Contender) {
			names = append(names, run.Contender)
		}
		for column := range run.Values {
			if column != "sum" && !slices.Contains(columns, column) {
				columns = append(columns, column)
			}
		}
	}
	slices.Sort(columns)
	slices.SortFunc(names, func(a, b string) int {
		return slices.Index(works[work].contenders, a) - slices.Index(works[work].contenders, b)
	})
	return columns, names
}

// columnTitles says what the values are; the last part of a value's name is its unit.
var columnTitles = map[string]string{
	"cpu_s": "CPU, s", "wall_s": "wall, s", "memory_mb": "peak memory, MB", "per_s": "a second", "steady_per_s": "a second, warm",
	"ready_s": "ready after, s", "broker_cpu_s": "broker's CPU, s", "events": "events", "p50_ms": "p50, ms", "p90_ms": "p90, ms",
	"p99_ms": "p99, ms", "max_ms": "max, ms", "running_s": "works again after kill -9, s", "ready_again_s": "says it runs, s",
	"outage_s": "from the kill, s", "running_cpu_s": "CPU until it works again, s", "restore_s": "restore, s", "restore_start_s": "restore with the start, s", "restore_cpu_s": "CPU of it, s",
	"cpu_us": "CPU each, µs", "wall_us": "wall each, µs", "measured": "measured", "state_mb": "state on disk, MB", "keys": "keys", "limit_mb": "GOMEMLIMIT, MB", "bound_mb": "bound, MB",
}

func titles(columns []string) []string {
	var list []string
	for _, column := range columns {
		title, known := columnTitles[column]
		if !known {
			title = column
		}
		list = append(list, title)
	}
	return list
}

// disagreements says whose events come to something else than the first's: then the comparison is worth nothing.
func (r *results) disagreements() string {
	first, known := 0.0, false
	var odd []string
	for _, run := range r.Runs {
		sum, found := run.Values["sum"]
		if !found {
			continue
		}
		if !known {
			first, known = sum, true
		}
		if sum != first {
			odd = append(odd, run.Contender)
		}
	}
	if len(odd) == 0 {
		return ""
	}
	return "The contenders' events differ: " + strings.Join(odd, ", ")
}

func writeTable(b *strings.Builder, header []string, rows func(yield func([]string))) {
	line := func(cells []string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	line(header)
	fmt.Fprintf(b, "|%s\n", strings.Repeat("---|", len(header)))
	rows(line)
}

// figure is a number with its unit.
func figure(value float64, unit string) string {
	if unit == "/s" {
		return number(value) + "/s"
	}
	return number(value) + " " + unit
}

// number shows three digits, and large numbers whole.
func number(value float64) string {
	if value >= 1000 {
		return grouped(int(value + 0.5))
	}
	return fmt.Sprintf("%.3g", value)
}

// grouped writes 1,000,000.
func grouped(n int) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
