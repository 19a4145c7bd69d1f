package docs_test

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSignaturesToCome type-checks the declarations of DESIGN.md as one more file of package topology: they compile beside
// what is there.
func TestSignaturesToCome(t *testing.T) {
	design := documents(t)["docs/DESIGN.md"]
	block := regexp.MustCompile("(?s)```go\n(package topology\n.*?)```").FindStringSubmatch(design)
	if block == nil {
		t.Fatal("docs/DESIGN.md has no block of package topology")
	}
	added := strings.Replace(block[1], "package topology\n", "package topology\nimport (\"time\"; \""+module+"/codecs\")\n", 1)
	if errs := checkTopology(t, added); len(errs) > 0 {
		t.Errorf("the declarations of docs/DESIGN.md do not compile in package topology:\n%v", errors.Join(errs...))
	}
	// What is known not to compile tells that something is checked at all.
	for name, wrong := range map[string]string{
		"a result that wraps the receiver's parameter": "type W[K any] struct{ k K }\nfunc (g Grouped[K, V]) Bad() Table[W[K], V]",
		"a method that is there already":               "func (s Stream[K, V]) Filter()",
	} {
		if errs := checkTopology(t, "package topology\n"+wrong); len(errs) == 0 {
			t.Errorf("%s compiles", name)
		}
	}
}

const module = "github.com/tidemill/tidemill"

// checkTopology type-checks package topology with one file more, function bodies left out.
func checkTopology(t *testing.T, added string) (errs []error) {
	t.Helper()
	set := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(root, "topology", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	file, err := parser.ParseFile(set, "DESIGN.md", added, parser.SkipObjectResolution)
	if err != nil {
		return []error{err}
	}
	config := types.Config{
		IgnoreFuncBodies: true, Importer: importer.ForCompiler(set, "gc", exports(t)),
		Error: func(err error) {
			// They have none on purpose; the rest of the package imports what its bodies need.
			if text := err.Error(); !strings.Contains(text, "missing function body") && !strings.Contains(text, "imported and not used") {
				errs = append(errs, err)
			}
		},
	}
	// The first error is returned as well.
	_, _ = config.Check(module+"/topology", set, append(files, file), nil)
	return errs
}

// exports returns a function that opens the compiled form of a package which topology imports.
func exports(t *testing.T) importer.Lookup {
	t.Helper()
	command := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", "./topology")
	command.Dir = root
	var problems bytes.Buffer
	command.Stderr = &problems
	output, err := command.Output()
	if err != nil {
		t.Fatalf("listing compiled packages: %v\n%s", err, problems.String())
	}
	found := map[string]string{}
	for line := range strings.Lines(string(output)) {
		if name, export, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			found[name] = export
		}
	}
	return func(name string) (io.ReadCloser, error) {
		if found[name] == "" {
			return nil, fmt.Errorf("%s is not compiled", name)
		}
		return os.Open(found[name])
	}
}
