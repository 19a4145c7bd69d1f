package house

import (
	"path"
	"slices"
	"strings"
)

// edge says what the packages under a directory may import of this module, in code that is not a test. What lies under the
// directory itself is always allowed; cycles are the compiler's to find.
type edge struct {
	dir string
	may []string
}

// edges, the most specific directory first. Dependencies point one way:
// codecs, internal/graph ← topology ← processors, views, commands ← apps ← cmd.
var edges = []edge{
	{"codecs", nil},
	{"internal/meta", nil},
	{"internal/token", nil},
	{"internal/partition", nil},
	{"internal/problem", nil},
	{"internal/store", nil},
	{"internal/recordbatch", nil},
	{"internal/broker", nil},
	{"internal/house", nil},
	{"internal/graph", []string{"codecs", "internal/meta"}},
	{"internal/task", []string{"codecs", "internal/graph", "internal/meta", "internal/store"}},
	{"internal/commit", []string{"internal/graph", "internal/meta", "internal/store", "internal/task"}},
	{"internal/restore", []string{"internal/commit", "internal/graph", "internal/meta", "internal/store", "internal/task"}},
	{"internal/transact", []string{"internal/commit", "internal/graph", "internal/log"}},
	{"internal/settle", nil},
	{"internal/log", []string{"internal/partition", "internal/settle"}},
	{"internal/settings", []string{"codecs", "topology", "kafka", "processors", "views", "commands", "internal"}}, // cmd's
	{"internal", []string{"codecs", "internal"}},
	{"kafka", []string{"internal/log"}},
	{"topology/topologytest", []string{"codecs", "topology", "internal/graph", "internal/meta", "internal/partition", "internal/task", "internal/store", "internal/store/storetest"}},
	{"topology", []string{"codecs", "internal/graph", "internal/meta", "internal/partition"}},
	{"processors", []string{"codecs", "topology", "kafka", "internal"}},
	{"views", []string{"codecs", "topology", "kafka", "internal"}},
	{"commands", []string{"codecs", "topology", "kafka", "internal"}},
	{"gateways", []string{"codecs", "topology", "kafka", "internal"}},
	{"apps/service", []string{"codecs", "topology", "kafka", "processors", "views", "commands", "gateways"}},
	{"apps", []string{"codecs", "topology", "kafka", "processors", "views", "commands", "gateways", "apps/service"}},
	{"examples", []string{"codecs", "topology", "kafka", "processors", "views", "commands", "gateways"}},
	{"cmd", []string{"codecs", "topology", "kafka", "processors", "views", "commands", "gateways", "apps", "internal"}},
	{"test", []string{"codecs", "topology", "kafka", "processors", "views", "commands", "gateways", "apps", "internal", "test"}},
	{"bench", []string{"codecs", "topology", "kafka", "processors", "views", "commands", "gateways", "apps", "internal"}},
}

// only says which packages alone may import a module from elsewhere, tests included.
var only = map[string][]string{
	"github.com/lovoo/goka":       {"internal/bridge"},
	"github.com/IBM/sarama":       {"internal/bridge"},
	"github.com/syndtr/goleveldb": {"internal/store"},
}

// testSupport are packages for tests whose names do not end in "test". The benchmark is one: it starts brokers as tests do, and
// nothing that is shipped imports it.
var testSupport = []string{"bench", "commands/internal/fakelog", "internal/house", "test/torture/history", "test/torture/faulty"}

func supports(dir string) bool {
	return strings.HasSuffix(path.Base(dir), "test") || slices.Contains(testSupport, dir)
}

func checkImports(files []*File) (violations []Violation) {
	for _, f := range files {
		for name, at := range f.imports() {
			for module, dirs := range only {
				if under(name, module) && !under(f.Dir, dirs...) {
					violations = append(violations, f.violation(at, "%s is imported by %s alone", module, strings.Join(dirs, ", ")))
				}
			}
			if !f.support() && name == "testing" {
				violations = append(violations, f.violation(at, "package testing in production: name the package …test if it is for tests"))
			}
			dir, ours := strings.CutPrefix(name, Module+"/")
			if !ours {
				continue
			}
			if text := refusal(f, dir); text != "" {
				violations = append(violations, f.violation(at, "%s", text))
			}
		}
	}
	return violations
}

// refusal says why a file may not import a directory of this module, or nothing.
func refusal(f *File, dir string) string {
	example := strings.HasPrefix(path.Base(f.Path), "example") && !strings.Contains("/"+f.Dir, "/internal")
	switch {
	case under(dir, "cmd"):
		return "nothing imports cmd"
	case supports(dir) && !f.support():
		return dir + " is for tests alone"
	case f.Test && example && under(dir, "internal"):
		return "an example imports what its readers can: no internal package"
	case f.Test:
		return ""
	case f.Dir == dir || under(dir, home(f.Dir)):
		return ""
	}
	for _, e := range edges {
		if !under(f.Dir, e.dir) {
			continue
		}
		if under(dir, e.may...) {
			return ""
		}
		return home(f.Dir) + " may not import " + dir + ": it imports " + listed(e.may) + " (internal/house/imports.go)"
	}
	return "say in internal/house/imports.go what " + f.Dir + " may import"
}

// home is the directory that a package's own parts lie under: two levels for apps and internal packages, whose neighbours
// are strangers.
func home(dir string) string {
	parts := strings.Split(dir, "/")
	switch parts[0] {
	case "apps", "internal", "examples", "cmd":
		return strings.Join(parts[:min(2, len(parts))], "/")
	}
	if under(dir, "topology/topologytest") {
		return "topology/topologytest"
	}
	return parts[0]
}

func listed(names []string) string {
	if len(names) == 0 {
		return "nothing of ours"
	}
	return strings.Join(names, ", ")
}
