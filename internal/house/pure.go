package house

import (
	"go/ast"
	"slices"
)

// pure are the packages without a clock, goroutine, randomness or I/O: what they compute follows from their input alone,
// so that a replay gives the same again.
var pure = []string{"codecs", "topology", "internal/graph", "internal/task", "internal/meta", "internal/token", "internal/partition"}

// impure is what they may not import.
var impure = []string{
	"os", "os/exec", "net", "net/http", "io/ioutil", "math/rand", "math/rand/v2", "crypto/rand", "log", "log/slog", "sync/errgroup",
	"github.com/twmb/franz-go",
}

// clock are the functions of package time that read the clock or wait.
var clock = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker"}

func checkPure(files []*File) (violations []Violation) {
	for _, f := range files {
		if f.support() || !under(f.Dir, pure...) {
			continue
		}
		for name, at := range f.imports() {
			if under(name, impure...) && !(name != "net" && under(name, "net/url", "net/netip")) {
				violations = append(violations, f.violation(at, "%s is pure: it may not import %s", f.Dir, name))
			}
		}
		ast.Inspect(f.Syntax, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.GoStmt:
				violations = append(violations, f.violation(n.Pos(), "%s is pure: it starts no goroutine", f.Dir))
			case *ast.SelectorExpr:
				if qualifier, ok := n.X.(*ast.Ident); ok && qualifier.Name == "time" && slices.Contains(clock, n.Sel.Name) {
					violations = append(violations, f.violation(n.Pos(), "%s is pure: no time.%s; time comes with the messages", f.Dir, n.Sel.Name))
				}
			}
			return true
		})
	}
	return violations
}
