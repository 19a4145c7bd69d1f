package house

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// checkDocumented wants a comment on every package, exported type, function, method, constant and variable; that of a type
// or function begins with its name, as go doc shows it.
func checkDocumented(files []*File) (violations []Violation) {
	packages := map[string]*File{}
	described := map[string]bool{}
	for _, f := range files {
		if f.Test {
			continue
		}
		if have, ok := packages[f.Dir]; !ok || f.Path < have.Path {
			packages[f.Dir] = f
		}
		described[f.Dir] = described[f.Dir] || f.Syntax.Doc != nil
		for _, declaration := range f.Syntax.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if text := undocumentedFunction(d); text != "" {
					violations = append(violations, f.violation(d.Pos(), "%s", text))
				}
			case *ast.GenDecl:
				violations = append(violations, undocumented(f, d)...)
			}
		}
	}
	for dir, f := range packages {
		if !described[dir] {
			violations = append(violations, f.violation(f.Syntax.Package, "package %s has no comment that says what it is", dir))
		}
	}
	return violations
}

func undocumentedFunction(d *ast.FuncDecl) string {
	name := d.Name.Name
	if !d.Name.IsExported() {
		return ""
	}
	full := name
	if d.Recv != nil {
		receiver := receiverName(d.Recv)
		if !ast.IsExported(receiver) {
			return ""
		}
		full = receiver + "." + name
	}
	return wants(full, name, d.Doc)
}

// wants says what is wrong with the comment of a type or function.
func wants(full, name string, doc *ast.CommentGroup) string {
	if doc == nil {
		return full + " has no comment"
	}
	words := strings.Fields(doc.Text())
	if len(words) > 1 && slices.Contains([]string{"A", "An", "The"}, words[0]) {
		words = words[1:]
	}
	if len(words) == 0 || strings.Trim(words[0], ",.:;'s") != strings.Trim(name, "s") {
		return "the comment of " + full + " does not begin with its name"
	}
	return ""
}

func undocumented(f *File, d *ast.GenDecl) (violations []Violation) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			doc := s.Doc
			if doc == nil && !d.Lparen.IsValid() {
				doc = d.Doc
			}
			if !s.Name.IsExported() {
				continue
			}
			if text := wants(s.Name.Name, s.Name.Name, doc); text != "" {
				violations = append(violations, f.violation(s.Pos(), "%s", text))
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
					violations = append(violations, f.violation(name.Pos(), "%s has no comment, nor has its group", name.Name))
				}
			}
		}
	}
	return violations
}

func receiverName(list *ast.FieldList) string {
	if len(list.List) == 0 {
		return ""
	}
	expression := list.List[0].Type
	for {
		switch e := expression.(type) {
		case *ast.StarExpr:
			expression = e.X
		case *ast.ParenExpr:
			expression = e.X
		case *ast.IndexExpr:
			expression = e.X
		case *ast.IndexListExpr:
			expression = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

// values returns the specs of a file's package-level variables, each with the comment that stands before it.
func (f *File) values() (specs []*ast.ValueSpec) {
	for _, declaration := range f.Syntax.Decls {
		d, ok := declaration.(*ast.GenDecl)
		if !ok || d.Tok != token.VAR {
			continue
		}
		for _, spec := range d.Specs {
			if s, ok := spec.(*ast.ValueSpec); ok {
				if s.Doc == nil {
					s.Doc = d.Doc
				}
				specs = append(specs, s)
			}
		}
	}
	return specs
}
