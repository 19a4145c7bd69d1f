package sim_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	mutantsFlag = flag.Bool("sim.mutants", false, "build each mutant and find it")
	mutantFlag  = flag.String("sim.mutant", "", "only the mutants whose name matches this expression")
)

// enough is how many seeds a mutant may survive, and mutantTime how long that may take.
const (
	enough     = 10_000
	mutantTime = 10 * time.Minute
)

// edited returns a mutant's files, edited, by their paths.
func (m mutant) edited(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, e := range m.edits {
		path, err := filepath.Abs(filepath.Join("..", "..", e.file))
		if err != nil {
			t.Fatal(err)
		}
		text, ok := files[path]
		if !ok {
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text = string(source)
		}
		if n := strings.Count(text, e.old); n != 1 {
			t.Fatalf("%s: %s has %d times, want once:\n%s", m.name, e.file, n, e.old)
		}
		files[path] = strings.Replace(text, e.old, e.new, 1)
	}
	return files
}

// TestMutantsApply keeps the mutants up to date: each edit has its place, once.
func TestMutantsApply(t *testing.T) {
	for _, m := range mutants {
		for path, text := range m.edited(t) {
			if _, err := parser.ParseFile(token.NewFileSet(), path, text, 0); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
		}
	}
}

// TestMutants shows that the simulator bites: each deliberate bug is found.
func TestMutants(t *testing.T) {
	if !*mutantsFlag {
		t.Skip("builds every mutant, which takes minutes: make mutants")
	}
	fmt.Printf("| %-4s | %-58s | %-5s | %5s | found by\n", "rule", "mutant", "where", "seeds")
	only := regexp.MustCompile(*mutantFlag)
	for _, m := range mutants {
		if !only.MatchString(m.name) {
			continue
		}
		seeds, failure := find(t, m)
		fmt.Printf("| %-4s | %-58s | %-5s | %5s | %s\n", m.rule, m.name, m.where(), seeds, failure)
		if failure == "" {
			t.Errorf("%s: not found in %d seeds", m.name, enough)
		}
	}
}

// where tells whether the product was edited, or what the simulator has in its place.
func (m mutant) where() string {
	for _, e := range m.edits {
		if strings.HasPrefix(e.file, "internal/sim/") {
			return "model"
		}
	}
	return "code"
}

var failedSeed = regexp.MustCompile(`seed (\d+): (.*)`)

// find builds a mutant and runs seeds until one fails.
func find(t *testing.T, m mutant) (seeds, failure string) {
	t.Helper()
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for path, text := range m.edited(t) {
		copied := filepath.Join(dir, strconv.Itoa(len(overlay.Replace))+".go")
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[path] = copied
	}
	encoded, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "mutant.test")
	if err := os.WriteFile(list, encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", list, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%s does not compile: %v\n%s", m.name, err, out)
	}
	run := exec.CommandContext(t.Context(), binary, "-test.run=TestSeeds", "-sim.story=0", "-sim.seeds="+strconv.Itoa(enough), "-test.timeout="+mutantTime.String())
	out, err := run.CombinedOutput()
	if err == nil {
		return "", ""
	}
	found := failedSeed.FindSubmatch(out)
	if found == nil {
		t.Fatalf("%s: %v\n%.2000s", m.name, err, out)
	}
	failure = string(found[2])
	if len(failure) > 100 {
		failure = failure[:100] + "…"
	}
	return string(found[1]), failure
}
