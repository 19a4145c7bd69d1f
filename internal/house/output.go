package house

import "go/ast"

// talkative are calls that belong to a program, not to a library: its user decides what is printed, and when it ends.
var talkative = map[string]map[string]bool{
	"fmt": {"Print": true, "Printf": true, "Println": true},
	"os":  {"Exit": true},
	"log": {"Print": true, "Printf": true, "Println": true, "Fatal": true, "Fatalf": true, "Fatalln": true, "Panic": true, "Panicf": true},
}

func checkOutput(files []*File) (violations []Violation) {
	for _, f := range files {
		if f.support() || under(f.Dir, "cmd") || f.Syntax.Name.Name == "main" {
			continue
		}
		imports := f.imports()
		ast.Inspect(f.Syntax, func(node ast.Node) bool {
			selector, ok := node.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			qualifier, ok := selector.X.(*ast.Ident)
			if !ok || !talkative[qualifier.Name][selector.Sel.Name] {
				return true
			}
			if _, standard := imports[qualifier.Name]; standard {
				violations = append(violations, f.violation(selector.Pos(), "%s.%s in a library: return it, or log it with slog", qualifier.Name, selector.Sel.Name))
			}
			return true
		})
	}
	return violations
}
