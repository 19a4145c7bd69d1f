package house

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Module is the module's path.
const Module = "github.com/tidemill/tidemill"

// File is one parsed Go file.
type File struct {
	Path   string // slash-separated, from the module's root
	Dir    string // of the package, likewise; "." is the root
	Test   bool   // a file of tests
	Lines  int
	Syntax *ast.File
	set    *token.FileSet
}

// Parse parses one file.
func Parse(name string, source []byte) (*File, error) {
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	return &File{
		Path: name, Dir: path.Dir(name), Test: strings.HasSuffix(name, "_test.go"), Lines: bytes.Count(source, []byte("\n")),
		Syntax: syntax, set: set,
	}, nil
}

// Load parses every Go file of the module at root. Directories that Go does not look into (testdata, names that begin with a
// dot or an underscore), other modules within, and generated files are left out.
func Load(root string) ([]*File, error) {
	var files []*File
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() {
			return skipDirectory(root, name, base)
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		file, err := Parse(filepath.ToSlash(relative), source)
		if err != nil {
			return err
		}
		if !ast.IsGenerated(file.Syntax) {
			files = append(files, file)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the module at %s: %w", root, err)
	}
	return files, nil
}

func skipDirectory(root, name, base string) error {
	if name == root {
		return nil
	}
	if base == "testdata" || base == "node_modules" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

// line returns the line of a position.
func (f *File) line(at token.Pos) int { return f.set.Position(at).Line }

func (f *File) violation(at token.Pos, format string, args ...any) Violation {
	return Violation{Path: f.Path, Line: f.line(at), Text: fmt.Sprintf(format, args...)}
}

// support reports whether the file belongs to the tests: it is one, or its package exists for them (named …test, or listed
// in testSupport).
func (f *File) support() bool { return f.Test || supports(f.Dir) }

// public reports whether users of the module can import the package.
func (f *File) public() bool {
	return !f.Test && f.Syntax.Name.Name != "main" && !strings.Contains("/"+f.Dir+"/", "/internal/")
}

// imports returns the imported paths with their places.
func (f *File) imports() map[string]token.Pos {
	imports := map[string]token.Pos{}
	for _, spec := range f.Syntax.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err == nil {
			imports[name] = spec.Pos()
		}
	}
	return imports
}
