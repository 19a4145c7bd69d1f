// Package house holds the rules of this house, as a test: `go test ./internal/house` reads every Go file of the module and
// fails with the place and the reason where one is broken. CONTRIBUTING.md says them in words.
//
// Each rule is a function from parsed files to violations; nothing is type-checked, so that the rules run in a second and
// on a tree that does not compile. A rule that has exceptions lists them beside it, each with its reason.
package house

import (
	"fmt"
	"slices"
	"strings"
)

// Violation is one place where a rule is broken.
type Violation struct {
	Path string // of the file, slash-separated, from the module's root
	Line int    // from 1; 0 is the file as a whole
	Rule string
	Text string // what is wrong, and what to do
}

// String returns "path:line: rule: text", as compilers write it.
func (v Violation) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", v.Path, v.Line, v.Rule, v.Text)
}

// Rule is one rule of the house.
type Rule struct {
	Name  string
	Check func(files []*File) []Violation
}

// Rules returns all rules.
func Rules() []Rule {
	return []Rule{
		{"imports", checkImports},
		{"pure", checkPure},
		{"size", checkSizes},
		{"documented", checkDocumented},
		{"globals", checkGlobals},
		{"any", checkAny},
		{"output", checkOutput},
		{"unfinished", checkUnfinished},
	}
}

// Check applies all rules and returns the violations in the order of the files.
func Check(files []*File) []Violation {
	var all []Violation
	for _, rule := range Rules() {
		for _, v := range rule.Check(files) {
			v.Rule = rule.Name
			all = append(all, v)
		}
	}
	slices.SortStableFunc(all, func(a, b Violation) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	return all
}

// under reports whether dir is one of the directories or below one.
func under(dir string, directories ...string) bool {
	for _, d := range directories {
		if dir == d || strings.HasPrefix(dir, d+"/") {
			return true
		}
	}
	return false
}
