package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// What is between these two lines of a Markdown file is a table of results.
const (
	tableBegin = "<!-- table: make bench -->"
	tableEnd   = "<!-- end of the table -->"
)

// intoReadme replaces the table of a Markdown file by that of the results, which out names.
func (r *results) intoReadme(file, out string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), tableBegin+"\n")
	_, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no lines %q and %q for the table", file, tableBegin, tableEnd)
	}
	link, err := filepath.Rel(filepath.Dir(file), out+".md")
	if err != nil {
		return err
	}
	var b strings.Builder
	r.writeOrigin(&b)
	fmt.Fprintf(&b, "Every figure: [%s](%s).\n\n", path.Base(out), filepath.ToSlash(link))
	r.writeGoals(&b)
	return os.WriteFile(file, []byte(before+tableBegin+"\n\n"+b.String()+"\n"+tableEnd+after), 0o644)
}

// resultsName is the name of results by when and on what they are measured: 2026-11-21T1700-linux-6.18-2cores.
func resultsName(at time.Time, kernel string, cores int, preset string) string {
	name := fmt.Sprintf("%s-%s-%dcores", at.Format("2006-01-02T1504"), strings.ReplaceAll(strings.ToLower(kernel), " ", "-"), cores)
	if preset != "main" {
		name += "-" + preset
	}
	return name
}
