package docs_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the module's root, from this package's directory.
const root = ".."

// documents returns the Markdown files of the module, by their path from its root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	walk(t, func(name string) {
		if strings.HasSuffix(name, ".md") {
			text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
			if err != nil {
				t.Fatal(err)
			}
			found[name] = string(text)
		}
	})
	return found
}

// walk visits the module's files, but for hidden and test data.
func walk(t *testing.T, visit func(name string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() && name != root && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules" || base == "bin") {
			return filepath.SkipDir
		}
		relative, err := filepath.Rel(root, name)
		if err == nil && !entry.IsDir() {
			visit(filepath.ToSlash(relative))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestGoOfReadme looks for each Go block of the README in the code: it is compiled and run there.
func TestGoOfReadme(t *testing.T) {
	var code strings.Builder
	for _, name := range []string{"apps/calculator/calculator.go", "docs/readme_test.go"} {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	readme := documents(t)["README.md"]
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readme, -1)
	if len(blocks) < 2 {
		t.Errorf("the README has %d blocks of Go, want the topology and its test", len(blocks))
	}
	for _, block := range blocks {
		if !strings.Contains(code.String(), block[1]) {
			t.Errorf("a block of the README is not in the code:\n%s", block[1])
		}
	}
}

var (
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading   = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fence     = regexp.MustCompile("(?s)```.*?```")
	goFile    = regexp.MustCompile("`([A-Za-z0-9_./-]+\\.go)`")
	goTest    = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9_]*`)
	folder    = regexp.MustCompile("`((?:apps|bench|cmd|codecs|commands|docker|docs|internal|kafka|processors|test|tools|topology|views)/[a-z/]*)`")
	target    = regexp.MustCompile("(?m)(?:`|^)make ([a-z]+)")
	notInSlug = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// TestLinks follows the links from document to document.
func TestLinks(t *testing.T) {
	all := documents(t)
	for name, text := range all {
		for _, match := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			if strings.Contains(match[1], "://") || strings.HasPrefix(match[1], "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(match[1], "#")
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
				if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(target))); err != nil {
					t.Errorf("%s: %s leads nowhere", name, match[1])
					continue
				}
			}
			if anchor != "" && !hasHeading(all[target], anchor) {
				t.Errorf("%s: %s: there is no such heading", name, match[1])
			}
		}
	}
}

// hasHeading looks for a heading by the anchor that Markdown renderers give it.
func hasHeading(text, anchor string) bool {
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		slug := notInSlug.ReplaceAllString(strings.ToLower(strings.TrimSpace(match[1])), "")
		if strings.ReplaceAll(slug, " ", "-") == anchor {
			return true
		}
	}
	return false
}

// TestFilesAreThere looks for the Go files that documents name, by the end of their path, for folders, for tests and for what make
// is to make.
func TestFilesAreThere(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	var tests strings.Builder
	walk(t, func(name string) {
		if strings.HasSuffix(name, "_test.go") {
			code, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(code)
		}
		for rest := name; strings.HasSuffix(name, ".go"); {
			known[rest] = true
			_, after, more := strings.Cut(rest, "/")
			if !more {
				break
			}
			rest = after
		}
	})
	for name, text := range documents(t) {
		for _, match := range goFile.FindAllStringSubmatch(text, -1) {
			if !known[match[1]] {
				t.Errorf("%s names %s, which is not there", name, match[1])
			}
		}
		for _, test := range goTest.FindAllString(text, -1) {
			if !strings.Contains(tests.String(), "\nfunc "+test+"(") {
				t.Errorf("%s names %s, which is not there", name, test)
			}
		}
		for _, match := range folder.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(match[1]))); err != nil {
				t.Errorf("%s names %s, which is not there", name, match[1])
			}
		}
		// In prose it is marked as code; a line of it may begin with the word.
		marked := strings.Join(fence.FindAllString(text, -1), "\n") + strings.ReplaceAll(fence.ReplaceAllString(text, ""), "\n", " ")
		for _, match := range target.FindAllStringSubmatch(marked, -1) {
			if !strings.Contains(string(makefile), "\n"+match[1]+":") {
				t.Errorf("%s names make %s, which the Makefile does not have", name, match[1])
			}
		}
	}
}
