package house

import (
	"go/ast"
	"regexp"
	"strings"
)

// mark finds what says that something is not done yet.
var mark = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)

func checkUnfinished(files []*File) (violations []Violation) {
	for _, f := range files {
		if under(f.Dir, "internal/house") {
			continue // it names what it looks for
		}
		for _, group := range f.Syntax.Comments {
			for _, comment := range group.List {
				if found := mark.FindString(comment.Text); found != "" {
					violations = append(violations, f.violation(comment.Pos(), "%s: do it, or write it down where it is tracked", found))
				}
			}
		}
		if !f.support() {
			continue
		}
		ast.Inspect(f.Syntax, func(node ast.Node) bool {
			// A fuzz target skips what is not worth a try, and says nothing for each of a million inputs.
			if function, ok := node.(*ast.FuncDecl); ok && strings.HasPrefix(function.Name.Name, "Fuzz") {
				return false
			}
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			selector, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			test, ok := selector.X.(*ast.Ident)
			if ok && skips(test.Name, selector.Sel.Name) && len(call.Args) == 0 {
				violations = append(violations, f.violation(call.Pos(), "a test is skipped without a reason"))
			}
			return true
		})
	}
	return violations
}

// skips reports whether a call on a value of that name skips a test.
func skips(receiver, method string) bool {
	switch receiver {
	case "t", "b", "f", "tb":
		return method == "Skip" || method == "SkipNow"
	}
	return false
}
