package house

import (
	"go/ast"
	"go/token"
	"strings"
)

// checkGlobals refuses init functions and package-level variables that change: a variable there is an error, a topic, a
// compiled expression, an embedded file, an interface assertion or a table, and nothing in its package assigns it. Tests may have
// flags; a package for tests may have the one broker that a test binary shares.
func checkGlobals(files []*File) (violations []Violation) {
	assigned := map[string]map[string]bool{} // by package
	for _, f := range files {
		if assigned[f.Dir] == nil {
			assigned[f.Dir] = map[string]bool{}
		}
		if !f.Test {
			assignments(f.Syntax, assigned[f.Dir])
		}
	}
	for _, f := range files {
		for _, declaration := range f.Syntax.Decls {
			if d, ok := declaration.(*ast.FuncDecl); ok && d.Recv == nil && d.Name.Name == "init" {
				violations = append(violations, f.violation(d.Pos(), "no init: call what it does where it is needed"))
			}
		}
		if f.support() {
			continue
		}
		for _, spec := range f.values() {
			for i, name := range spec.Names {
				if text := changeable(spec, i, assigned[f.Dir][name.Name]); text != "" {
					violations = append(violations, f.violation(name.Pos(), "package-level variable %s %s", name.Name, text))
				}
			}
		}
	}
	return violations
}

// changeable says what is wrong with a package-level variable, or nothing.
func changeable(spec *ast.ValueSpec, i int, assigned bool) string {
	name := spec.Names[i].Name
	switch {
	case name == "_":
		return ""
	case assigned:
		return "is assigned: no global settings, hand it on as a parameter or a field"
	case i >= len(spec.Values):
		if spec.Doc != nil && strings.Contains(embedding(spec), "go:embed ") {
			return ""
		}
		return "has no value: it can only be there to be assigned"
	case ast.IsExported(name) && !isError(name, spec.Values[i]) && !isTopic(spec.Values[i]):
		return "is exported and neither an error nor a topic: users could assign it; make it a function or a constant"
	case pointer(spec.Values[i]):
		return "is a pointer or a channel: its target can change"
	}
	return ""
}

func embedding(spec *ast.ValueSpec) string {
	var text strings.Builder
	for _, comment := range spec.Doc.List {
		text.WriteString(comment.Text)
	}
	return text.String()
}

// isError reports an error value: named Err…, made by errors.New or fmt.Errorf, or another package's.
func isError(name string, value ast.Expr) bool {
	if !strings.HasPrefix(name, "Err") {
		return false
	}
	switch v := value.(type) {
	case *ast.CallExpr:
		selector, ok := v.Fun.(*ast.SelectorExpr)
		return ok && (selector.Sel.Name == "New" || selector.Sel.Name == "Errorf")
	case *ast.SelectorExpr:
		return strings.HasPrefix(v.Sel.Name, "Err")
	}
	return false
}

// isTopic reports a topic's declaration: an application names its topics once, and all its parts mean the same value.
func isTopic(value ast.Expr) bool {
	call, ok := value.(*ast.CallExpr)
	if !ok {
		return false
	}
	selector, ok := call.Fun.(*ast.SelectorExpr)
	return ok && selector.Sel.Name == "NewTopic"
}

func pointer(value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.UnaryExpr:
		return v.Op == token.AND
	case *ast.CallExpr:
		name, ok := v.Fun.(*ast.Ident)
		return ok && (name.Name == "make" || name.Name == "new")
	}
	return false
}

// assignments notes the identifiers that are assigned, or whose elements or address are.
func assignments(file *ast.File, into map[string]bool) {
	var note func(ast.Expr)
	note = func(expression ast.Expr) {
		switch e := expression.(type) {
		case *ast.Ident:
			into[e.Name] = true
		case *ast.IndexExpr:
			note(e.X)
		case *ast.ParenExpr:
			note(e.X)
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, left := range n.Lhs {
					note(left)
				}
			}
		case *ast.IncDecStmt:
			note(n.X)
		}
		return true
	})
}
