package house

import "go/ast"

// The longest file, function and function of a test, in lines. The aim is 400, and what fits on a screen. A test tells a
// story from beginning to end, and may take a little longer.
const (
	maxFile         = 600
	maxFunction     = 80
	maxTestFunction = 100
)

func checkSizes(files []*File) (violations []Violation) {
	for _, f := range files {
		if f.Lines > maxFile {
			violations = append(violations, f.violation(f.Syntax.End(), "%d lines in a file, at most %d: one reason a file", f.Lines, maxFile))
		}
		for _, declaration := range f.Syntax.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := f.line(function.End()) - f.line(function.Pos()) + 1
			most := maxFunction
			if f.Test {
				lines, most = lines-f.tableLines(function), maxTestFunction
			}
			if lines > most {
				violations = append(violations, f.violation(function.Pos(), "%s has %d lines, at most %d: give its parts names", function.Name.Name, lines, most))
			}
		}
	}
	return violations
}

// tableLines returns how many lines of a function are inside of composite literals: a test's table is data.
func (f *File) tableLines(function *ast.FuncDecl) (lines int) {
	ast.Inspect(function, func(node ast.Node) bool {
		literal, ok := node.(*ast.CompositeLit)
		if ok {
			lines += f.line(literal.Rbrace) - f.line(literal.Lbrace)
		}
		return !ok
	})
	return lines
}
