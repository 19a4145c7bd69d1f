package docs_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/settings"
)

var update = flag.Bool("update", false, "write the generated tables into the documents")

// TestGeneratedTables compares the tables between <!-- name --> and <!-- end --> with what the code says.
func TestGeneratedTables(t *testing.T) {
	name := filepath.Join(root, "docs", "operating.md")
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	for _, table := range []struct{ name, rows string }{{"settings", settingsTable()}, {"metrics", metricsTable(t)}} {
		begin, end := "<!-- "+table.name+" -->\n", "<!-- end -->"
		before, rest, found := strings.Cut(text, begin)
		_, after, ended := strings.Cut(rest, end)
		if !found || !ended {
			t.Fatalf("%s has no place for the table of %s", name, table.name)
		}
		text = before + begin + table.rows + end + after
	}
	switch {
	case text == string(content):
	case *update:
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the tables in %s are not those of the code; go test ./docs -update writes them", name)
	}
}

// settingsTable lists all settings with their defaults.
func settingsTable() string {
	var out strings.Builder
	out.WriteString("| key in a file | environment | default | |\n|---|---|---|---|\n")
	line := regexp.MustCompile(`^( *)([a-z-]+): (.*?)  # (.*); (TIDEMILL_[A-Z_]+)$`)
	section := ""
	for text := range strings.Lines(settings.Default().YAML()) {
		text = strings.TrimSuffix(text, "\n")
		if name, ok := strings.CutSuffix(text, ":"); ok {
			section = name + "."
			continue
		}
		match := line.FindStringSubmatch(text)
		if match == nil {
			continue
		}
		if match[1] == "" {
			section = ""
		}
		value := match[3]
		if value != `""` {
			value = "`" + strings.Trim(value, `"`) + "`"
		} else {
			value = ""
		}
		fmt.Fprintf(&out, "| `%s%s` | `%s` | %s | %s |\n", section, match[2], match[5], value, match[4])
	}
	return out.String()
}

// metricsTable lists the metrics that the code registers, found by how they are written there.
func metricsTable(t *testing.T) string {
	t.Helper()
	named := regexp.MustCompile(`Name:\s+"(tidemill_[a-z_]+)",\s+Help:\s+"([^"]*)"`)
	prefixed := regexp.MustCompile(`(?:counter|gauge|describe)\("([a-z_]+)", "([^"]*)"`)
	prefix := regexp.MustCompile(`"(tidemill_[a-z]+_)" ?\+ ?`)
	rows := map[string]string{}
	walk(t, func(name string) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return
		}
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(content), -1) {
			rows[match[1]] = match[2]
		}
		begins := prefix.FindStringSubmatch(string(content))
		for _, match := range prefixed.FindAllStringSubmatch(string(content), -1) {
			if begins == nil {
				t.Errorf("%s: metric %s has no prefix", name, match[1])
				continue
			}
			rows[begins[1]+match[1]] = match[2]
		}
	})
	var names []string
	for name := range rows {
		names = append(names, name)
	}
	slices.Sort(names)
	var out strings.Builder
	out.WriteString("| metric | |\n|---|---|\n")
	for _, name := range names {
		fmt.Fprintf(&out, "| `%s` | %s |\n", name, rows[name])
	}
	return out.String()
}
