package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A misspelt key does not hide what else is wrong.
func TestUpTellsEverythingThatIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(path, []byte("nonsense: 1\nlog: {level: loud}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := newRoot()
	root.SetArgs([]string{"up", "--config", path, "--topics-partitions", "-1"})
	err := root.ExecuteContext(t.Context())
	if exitCode(err) != exitUsage {
		t.Fatalf("the error is %v", err)
	}
	for _, want := range []string{`"nonsense"`, "log.level", "partitions"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error says nothing of %s:\n%v", want, err)
		}
	}
}
