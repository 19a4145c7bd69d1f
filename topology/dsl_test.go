package topology_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestCodeOfDocument looks for each Go block of docs/dsl.md in the examples, where it is compiled and run.
func TestCodeOfDocument(t *testing.T) {
	document, err := os.ReadFile("../docs/dsl.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	code := strings.ReplaceAll(string(examples), "\n\t", "\n") // a function's body
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(document), -1)
	if len(blocks) < 5 {
		t.Errorf("the document has %d blocks of Go", len(blocks))
	}
	for _, block := range blocks {
		if !strings.Contains(code, block[1]) {
			t.Errorf("a block of docs/dsl.md is not in example_test.go:\n%s", block[1])
		}
	}
}
