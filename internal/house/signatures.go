package house

import (
	"go/ast"
	"go/token"
)

// checkAny refuses any in what users of the module call or fill in: the types are the point. A constraint of a type
// parameter is none; the methods that the standard library's interfaces ask for, and printf's arguments, are as they are
// there.
func checkAny(files []*File) (violations []Violation) {
	for _, f := range files {
		if !f.public() {
			continue
		}
		for _, declaration := range f.Syntax.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if d.Recv != nil {
					receiver := receiverName(d.Recv)
					if !ast.IsExported(receiver) || name == "As" || name == "Scan" {
						continue
					}
					name = receiver + "." + name
				}
				if d.Name.IsExported() {
					violations = append(violations, saysAny(f, name, d.Type)...)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok && s.Name.IsExported() {
						violations = append(violations, saysAny(f, s.Name.Name, s.Type)...)
					}
				}
			}
		}
	}
	return violations
}

// saysAny returns where any stands in the exported parts of a type.
func saysAny(f *File, name string, in ast.Expr) (violations []Violation) {
	refuse := func(at token.Pos) {
		violations = append(violations, f.violation(at, "any in the signature of %s: give it a type", name))
	}
	ast.Inspect(in, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.FuncType:
			for _, list := range []*ast.FieldList{n.Params, n.Results} {
				if list == nil {
					continue
				}
				for i, field := range list.List {
					if printf(list, i) {
						continue
					}
					violations = append(violations, saysAny(f, name, field.Type)...)
				}
			}
			return false
		case *ast.Field:
			exported := len(n.Names) == 0
			for _, fieldName := range n.Names {
				exported = exported || fieldName.IsExported()
			}
			return exported
		case *ast.Ident:
			if n.Name == "any" {
				refuse(n.Pos())
			}
		case *ast.InterfaceType:
			if len(n.Methods.List) == 0 {
				refuse(n.Pos())
			}
		}
		return true
	})
	return violations
}

// printf reports whether field i is the arguments of a format before them.
func printf(list *ast.FieldList, i int) bool {
	if i == 0 || i != len(list.List)-1 {
		return false
	}
	_, variadic := list.List[i].Type.(*ast.Ellipsis)
	format, ok := list.List[i-1].Type.(*ast.Ident)
	return variadic && ok && format.Name == "string"
}
