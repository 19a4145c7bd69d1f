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
	var examples strings.Builder
	for _, name := range []string{"example_test.go", "example_rows_test.go"} {
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		examples.Write(file)
	}
	code := strings.ReplaceAll(examples.String(), "\n\t", "\n") // a function's body
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(document), -1)
	if len(blocks) < 5 {
		t.Errorf("the document has %d blocks of Go", len(blocks))
	}
	for _, block := range blocks {
		if !strings.Contains(code, block[1]) {
			t.Errorf("a block of docs/dsl.md is in no example:\n%s", block[1])
		}
	}
}
