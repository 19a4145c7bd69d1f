package house_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/house"
)

// Each case is a file that breaks one rule, or keeps all of them.
var cases = []struct {
	name string
	path string
	code string // without the package clause, which is added with its comment
	want string // "rule: part of the text"; empty where nothing is wrong
}{
	{"a module of the bridge's", "topology/x.go", `import _ "github.com/lovoo/goka"`, "imports: github.com/lovoo/goka is imported by internal/bridge alone"},
	{"a module of the bridge's, in a test", "processors/x_test.go", `import _ "github.com/IBM/sarama"`, "imports: github.com/IBM/sarama is imported by internal/bridge alone"},
	{"the bridge's own", "internal/bridge/x.go", `import _ "github.com/IBM/sarama/mocks"`, ""},
	{"a name that only begins like it", "views/x.go", `import _ "github.com/lovoo/gokart"`, ""},
	{"upwards", "codecs/x.go", `import _ "github.com/tidemill/tidemill/topology"`, "imports: codecs may not import topology: it imports nothing of ours"},
	{"sideways", "views/x.go", `import _ "github.com/tidemill/tidemill/commands"`, "imports: views may not import commands"},
	{"from one app to another", "apps/calculator/x.go", `import _ "github.com/tidemill/tidemill/apps/ordering"`, "imports: apps/calculator may not import apps/ordering"},
	{"an app's own part", "apps/calculator/page/x.go", `import _ "github.com/tidemill/tidemill/apps/calculator"`, ""},
	{"an internal package in an app", "apps/calculator/x.go", `import _ "github.com/tidemill/tidemill/internal/store"`, "imports: apps/calculator may not import internal/store"},
	{"an internal package in an app's test", "apps/calculator/x_test.go", `import _ "github.com/tidemill/tidemill/internal/kafkatest"`, ""},
	{"an internal package in an example", "topology/example_test.go", `import _ "github.com/tidemill/tidemill/internal/task"`, "imports: an example imports what its readers can"},
	{"downwards", "topology/x.go", `import _ "github.com/tidemill/tidemill/internal/graph"`, ""},
	{"cmd", "bench/x.go", `import _ "github.com/tidemill/tidemill/cmd/tidemill"`, "imports: nothing imports cmd"},
	{"a package for tests", "views/x.go", `import _ "github.com/tidemill/tidemill/internal/kafkatest"`, "imports: internal/kafkatest is for tests alone"},
	{"package testing", "views/x.go", `import _ "testing"`, "imports: package testing in production"},
	{"a directory without a rule", "newthing/x.go", `import _ "github.com/tidemill/tidemill/codecs"`, "imports: say in internal/house/imports.go what newthing may import"},

	{"a goroutine", "internal/task/x.go", `func f() { go f() }`, "pure: internal/task is pure: it starts no goroutine"},
	{"the clock", "topology/x.go", "import \"time\"\nfunc f() { _ = time.Now() }", "pure: topology is pure: no time.Now"},
	{"randomness", "internal/graph/x.go", `import _ "math/rand/v2"`, "pure: internal/graph is pure: it may not import math/rand/v2"},
	{"durations", "topology/x.go", "import \"time\"\nconst day = 24 * time.Hour", ""},
	{"the clock in a test", "topology/x_test.go", "import \"time\"\nfunc f() { _ = time.Now() }", ""},

	{"a long function", "views/x.go", "func f() {\n" + strings.Repeat("_ = 1\n", 79) + "}", "size: f has 81 lines, at most 80"},
	{"a function as long as allowed", "views/x.go", "func f() {\n" + strings.Repeat("_ = 1\n", 78) + "}", ""},
	{"a test with a long table", "views/x_test.go", "func f() {\n_ = []int{\n" + strings.Repeat("1,\n", 90) + "}\n}", ""},
	{"a long test", "views/x_test.go", "func f() {\n" + strings.Repeat("_ = 1\n", 99) + "}", "size: f has 101 lines, at most 100"},
	{"a long file", "views/x_test.go", strings.Repeat("\n", 600), "size: 602 lines in a file, at most 600"},

	{"a function without a comment", "views/x.go", "func F() {}", "documented: F has no comment"},
	{"a method without a comment", "internal/log/x.go", "// T is one.\ntype T struct{}\nfunc (*T) M() {}", "documented: T.M has no comment"},
	{"a generic type's method", "views/x.go", "// T is one.\ntype T[K any] struct{}\nfunc (T[K]) M() {}", "documented: T.M has no comment"},
	{"a method of an unexported type", "views/x.go", "type t struct{}\nfunc (t) M() {}", ""},
	{"a comment on something else", "views/x.go", "// It does things.\nfunc F() {}", "documented: the comment of F does not begin with its name"},
	{"a comment with an article", "views/x.go", "// The View is one.\ntype View struct{}", ""},
	{"a constant without a comment", "views/x.go", "const (\n\tA = 1\n)", "documented: A has no comment, nor has its group"},
	{"constants with their group's comment", "views/x.go", "// The letters.\nconst (\n\tA = 1\n\tB = 2\n)", ""},

	{"init", "views/x.go", "func init() {}", "globals: no init"},
	{"a method called init", "views/x.go", "type t struct{}\nfunc (t) init() {}", ""},
	{"a setting", "views/x.go", "var limit = 5\nfunc set() { limit = 6 }", "globals: package-level variable limit is assigned"},
	{"a table that grows", "views/x.go", "var table = map[string]int{}\nfunc set() { table[\"a\"]++ }", "globals: package-level variable table is assigned"},
	{"a table", "views/x.go", "var table = map[string]int{\"a\": 1}", ""},
	{"a variable without a value", "views/x.go", "import \"sync\"\nvar mu sync.Mutex", "globals: package-level variable mu has no value"},
	{"a pointer", "views/x.go", "type t struct{ n int }\nvar shared = &t{}", "globals: package-level variable shared is a pointer"},
	{"an exported variable", "views/x.go", "// Limit is one.\nvar Limit = 5", "globals: package-level variable Limit is exported"},
	{"an error", "views/x.go", "import \"errors\"\n// ErrX is one.\nvar ErrX = errors.New(\"x\")", ""},
	{"a topic", "apps/calculator/x.go", "import \"github.com/tidemill/tidemill/topology\"\n// Commands is one.\nvar Commands = topology.NewTopic(\"commands\")", ""},
	{"an embedded file", "views/x.go", "import _ \"embed\"\n\n//go:embed x.txt\nvar text string", ""},

	{"any in a parameter", "views/x.go", "// F does.\nfunc F(v any) {}", "any: any in the signature of F"},
	{"any in a result's function", "views/x.go", "// F does.\nfunc F() func() interface{} { return nil }", "any: any in the signature of F"},
	{"any in a field", "views/x.go", "// T is one.\ntype T struct{ Values map[string]any }", "any: any in the signature of T"},
	{"any in a field of its own", "views/x.go", "// T is one.\ntype T struct{ values map[string]any }", ""},
	{"any as a constraint", "views/x.go", "// F does.\nfunc F[K any](key K) {}", ""},
	{"any in an internal package", "internal/graph/x.go", "// F does.\nfunc F(v any) {}", ""},
	{"any for printf", "views/x.go", "// F does.\nfunc F(format string, args ...any) {}", ""},

	{"printing", "views/x.go", "import \"fmt\"\nfunc f() { fmt.Println(1) }", "output: fmt.Println in a library"},
	{"exiting", "views/x.go", "import \"os\"\nfunc f() { os.Exit(1) }", "output: os.Exit in a library"},
	{"printing in the program", "cmd/tidemill/x.go", "import \"fmt\"\nfunc f() { fmt.Println(1) }", ""},
	{"a field called log", "views/x.go", "type logger struct{}\nfunc (logger) Printf() {}\ntype t struct{ log logger }\nfunc f(log logger) { log.Printf() }", ""},

	{"a mark", "views/x.go", "// " + "TO" + "DO: later\nfunc f() {}", "unfinished: TO" + "DO: do it"},
	{"a skip", "views/x_test.go", "import \"testing\"\nfunc f(t *testing.T) { t.Skip() }", "unfinished: a test is skipped without a reason"},
	{"a skip of a fuzz target", "views/x_test.go", "import \"testing\"\nfunc FuzzX(f *testing.F) { f.Fuzz(func(t *testing.T) { t.Skip() }) }", ""},
	{"a skip with its reason", "views/x_test.go", "import \"testing\"\nfunc f(t *testing.T) { t.Skip(\"no broker\") }", ""},
}

func TestRules(t *testing.T) {
	broken := map[string]bool{}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			file, err := house.Parse(c.path, []byte("// Package x is a test.\npackage x\n"+c.code))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range house.Check([]*house.File{file}) {
				got = append(got, v.Rule+": "+v.Text)
				broken[v.Rule] = true
			}
			switch {
			case c.want == "" && len(got) > 0:
				t.Errorf("%q; want none", got)
			case c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want)):
				t.Errorf("%q; want one that begins with %q", got, c.want)
			}
		})
	}
	for _, rule := range house.Rules() {
		if !broken[rule.Name] {
			t.Errorf("no case breaks rule %q; broken are %q", rule.Name, slices.Sorted(maps.Keys(broken)))
		}
	}
}

func TestPackageComment(t *testing.T) {
	file, err := house.Parse("views/x.go", []byte("package views\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := house.Check([]*house.File{file})
	if len(got) != 1 || got[0].String() != "views/x.go:1: documented: package views has no comment that says what it is" {
		t.Errorf("violations of a package without a comment: %q", got)
	}
}
