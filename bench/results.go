package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// results is a file of results: where they come from, and every run.
type results struct {
	Machine  map[string]string `json:"machine"`
	Versions map[string]string `json:"versions"`
	Scale    map[string]int    `json:"scale"`
	Runs     []result          `json:"runs"`
}

// result is one run of one contender.
type result struct {
	Work      string             `json:"work"`
	Contender string             `json:"contender"`
	Round     int                `json:"round"`
	Point     int                `json:"point,omitempty"` // of a curve
	At        time.Time          `json:"at"`
	Values    map[string]float64 `json:"values"`
}

// loadResults reads out.json, or begins anew.
func loadResults(out string) (*results, error) {
	r := &results{Machine: map[string]string{}, Versions: map[string]string{}, Scale: map[string]int{}}
	text, err := os.ReadFile(out + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, r)
	}
	if err != nil {
		return nil, fmt.Errorf("reading earlier results: %w", err)
	}
	return r, nil
}

func (r *results) save(out string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(out+".json", append(text, '\n'), 0o644)
}

func (r *results) add(work, contender string, round, point int, values map[string]float64) {
	for name, value := range values {
		values[name] = rounded(value)
	}
	r.Runs = append(r.Runs, result{Work: work, Contender: contender, Round: round, Point: point, At: time.Now().UTC().Truncate(time.Second), Values: values})
}

// rounded keeps four digits of what is measured and all of what is counted.
func rounded(value float64) float64 {
	if value == float64(int64(value)) {
		return value
	}
	var short float64
	_, _ = fmt.Sscanf(fmt.Sprintf("%.4g", value), "%g", &short) // its own output
	return short
}

// round is how often a contender has done a work before.
func (r *results) round(work, contender string, point int) int {
	n := 0
	for _, run := range r.Runs {
		if run.Work == work && run.Contender == contender && run.Point == point {
			n++
		}
	}
	return n
}

// points are those of a curve, sorted; a work that is no curve has none.
func (r *results) points(work, contender string) []int {
	var list []int
	for _, run := range r.Runs {
		if run.Work == work && run.Contender == contender && run.Point != 0 && !slices.Contains(list, run.Point) {
			list = append(list, run.Point)
		}
	}
	slices.Sort(list)
	return list
}

// values are those of all runs, sorted.
func (r *results) values(work, contender, name string) []float64 {
	return r.valuesAt(work, contender, 0, name)
}

// valuesAt are those of all runs at a point of a curve, sorted.
func (r *results) valuesAt(work, contender string, point int, name string) []float64 {
	var list []float64
	for _, run := range r.Runs {
		if value, found := run.Values[name]; found && run.Work == work && run.Contender == contender && run.Point == point {
			list = append(list, value)
		}
	}
	slices.Sort(list)
	return list
}

// median of all runs, if there are any.
func (r *results) median(work, contender, name string) (float64, bool) {
	return middle(r.values(work, contender, name))
}

// middle is the median of a sorted list.
func middle(list []float64) (float64, bool) {
	if len(list) == 0 {
		return 0, false
	}
	half := len(list) / 2
	if len(list)%2 == 1 {
		return list[half], true
	}
	return (list[half-1] + list[half]) / 2, true
}

// errScale is results of another size: their medians would be of nothing.
var errScale = errors.New("the earlier results are of another size; name another file with -out, or give the same -preset, -commands and -large")

// comparable reports whether what is measured by this preset may be added.
func (r *results) comparable(p preset) error {
	for name, n := range p.scale() {
		if before := r.Scale[name]; before > 0 && n > 0 && before != n {
			return fmt.Errorf("%w: %d %s there, %d here", errScale, before, name, n)
		}
	}
	return nil
}

// describe notes where and with what is measured.
func (r *results) describe(s *session) {
	r.Machine["os"] = runtime.GOOS + "/" + runtime.GOARCH
	r.Machine["cores"] = fmt.Sprint(runtime.NumCPU())
	r.Machine["processor"] = lineOf("/proc/cpuinfo", "model name")
	r.Machine["memory"] = lineOf("/proc/meminfo", "MemTotal")
	r.Machine["kernel"] = output("uname", "-sr")
	r.Versions["tidemill"] = strings.TrimSpace(output("git", "describe", "--always", "--dirty", "--tags"))
	r.Versions["go"] = runtime.Version()
	r.Versions["java"] = strings.SplitN(output("java", "-version"), "\n", 2)[0]
	r.Versions["kafka"], r.Versions["kafka-streams"], r.Versions["goka"] = "4.3.0", "4.3.0", "1.1.16"
	if info, found := debug.ReadBuildInfo(); found {
		for _, dependency := range info.Deps {
			if strings.HasSuffix(dependency.Path, "/franz-go") || strings.HasSuffix(dependency.Path, "/sarama") {
				r.Versions[dependency.Path] = dependency.Version
			}
		}
	}
	for name, n := range s.scale() {
		if n > 0 {
			r.Scale[name] = n
		}
	}
	r.Scale["partitions"] = defaultPartitions
}

// lineOf returns what a file of /proc says of a name, or "unknown".
func lineOf(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if before, after, found := strings.Cut(line, ":"); found && strings.TrimSpace(before) == name {
			return strings.Join(strings.Fields(after), " ")
		}
	}
	return "unknown"
}

// output is what a program says, on whichever stream.
func output(name string, args ...string) string {
	text, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return "unknown"
	}
	return string(bytes.TrimSpace(text))
}

// shown is a run's values in one line.
func shown(values map[string]float64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if name != "sum" {
			parts = append(parts, fmt.Sprintf("%s %.4g", name, values[name]))
		}
	}
	return strings.Join(parts, ", ")
}
