package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestIntoReadme(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(file, []byte("above\n\n"+tableBegin+"\nold\n"+tableEnd+"\n\nbelow\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(filepath.Dir(file), "results", "x")
	var once string
	for range 2 { // the second time nothing changes
		if err := sample().intoReadme(file, out); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"above\n", "below\n", "| 5 s | 24 s | 18 s | 0.208 | ≤ ¼ | met |", "[x](results/x.md)", "cores 2"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("there is no %q:\n%s", want, text)
			}
		}
		if strings.Contains(string(text), "old") || once != "" && once != string(text) {
			t.Errorf("what is left of the old table:\n%s", text)
		}
		once = string(text)
	}
	if err := os.WriteFile(file, []byte("no table\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := sample().intoReadme(file, out); err == nil || !strings.Contains(err.Error(), tableBegin) {
		t.Errorf("a file without the lines: %v", err)
	}
}

func TestResultsName(t *testing.T) {
	at := time.Date(2026, 11, 21, 17, 0, 0, 0, time.UTC)
	for preset, want := range map[string]string{"main": "2026-11-21T1700-linux-6.1-2cores", "quick": "2026-11-21T1700-linux-6.1-2cores-quick"} {
		if got := resultsName(at, "Linux 6.1", 2, preset); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestDocumentedTable: the documentation has the place for the table.
func TestDocumentedTable(t *testing.T) {
	text, err := os.ReadFile("../docs/bench/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), tableBegin+"\n") != 1 || strings.Count(string(text), tableEnd+"\n") != 1 {
		t.Errorf("docs/bench/README.md needs the lines %q and %q, once each", tableBegin, tableEnd)
	}
}
