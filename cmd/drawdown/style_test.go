package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The rooms of docs/architecture.md: what a package may import of ours, and of others, and why.
type wall struct {
	rooms []string // path prefixes
	may   func(imported string) bool
	why   string
}

func walls() []wall {
	return []wall{
		{
			[]string{"rating"},
			isStandard,
			"rating would be true with paper and pencil: it imports the standard library only, so that it can be replayed anywhere",
		},
		{
			[]string{"rating"},
			func(i string) bool {
				return !slices.Contains([]string{"os", "io", "context", "log", "log/slog", "database/sql", "sync", "net", "net/http"}, i)
			},
			"rating reads, writes, waits and logs nothing: the same arguments give the same answer for ever",
		},
		{
			[]string{"readers", "writers", "notifier"},
			func(i string) bool { return !isOurs(i) || i == "drawdown/rating" || i == "drawdown/readers/bucket" },
			"readers, writers and notifier know of rating alone, so that each can be replaced without the others; and of " +
				"readers/bucket, since usage and settlements lie in the same kind of bucket, and speaking to it is not written twice",
		},
		{
			[]string{"readers/bucket"},
			func(i string) bool { return !isOurs(i) },
			"readers/bucket moves bytes, and knows nothing of what they mean",
		},
		{
			[]string{"jobs"},
			func(i string) bool {
				return !isOurs(i) || i == "drawdown/rating" || strings.HasPrefix(i, "drawdown/jobs/")
			},
			"jobs declares the small interfaces that it needs; cmd plugs readers and writers in",
		},
		{
			[]string{"jobs"},
			isStandardOr("golang.org/x/sync", "github.com/klauspost/compress", "drawdown"),
			"jobs says when and in what order: queries and formats live in readers and writers",
		},
		{
			[]string{"testdata"},
			isStandard,
			"testdata is read, not run",
		},
	}
}

func isOurs(imported string) bool {
	return imported == "drawdown" || strings.HasPrefix(imported, "drawdown/")
}

// isStandard tells the standard library from modules: the first part of a module's path has a dot.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".") && !isOurs(imported)
}

func isStandardOr(prefixes ...string) func(string) bool {
	return func(imported string) bool {
		return isStandard(imported) || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(imported, p) })
	}
}

// source is a parsed file of the module.
type source struct {
	name string // relative to the module's root, with slashes
	file *ast.File
	test bool
}

func (s *source) room() string { return path.Dir(s.name) }

func moduleSources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	const root = "../.."
	set := token.NewFileSet()
	var sources []source
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, _ := filepath.Rel(root, name)
		switch {
		case entry.IsDir() && relative != "." && (strings.HasPrefix(entry.Name(), ".") || isModule(name)):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(name) != ".go" || strings.HasPrefix(entry.Name(), "zz_"):
			return nil
		}
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		sources = append(sources, source{filepath.ToSlash(relative), file, strings.HasSuffix(name, "_test.go")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return set, sources
}

// isModule tells a nested module, which has rules of its own.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func TestImportWalls(t *testing.T) {
	set, sources := moduleSources(t)
	for _, s := range sources {
		if s.test {
			continue
		}
		for _, spec := range s.file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			for _, w := range walls() {
				inside := slices.ContainsFunc(w.rooms, func(r string) bool { return s.name == r || strings.HasPrefix(s.name, r+"/") })
				if inside && !w.may(imported) {
					t.Errorf("%s: imports %s: %s", set.Position(spec.Pos()), imported, w.why)
				}
			}
		}
	}
}

func TestClockIsReadInCmdAlone(t *testing.T) {
	set, sources := moduleSources(t)
	for _, s := range sources {
		if s.test || strings.HasPrefix(s.name, "cmd/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains([]string{"Now", "Since", "Until"}, selector.Sel.Name) {
				t.Errorf("%s: time.%s: now is an argument, so that a run can be repeated; take a clock", set.Position(n.Pos()), selector.Sel.Name)
			}
			return true
		})
	}
}

// longestFunction is how many lines a function may have, its own two included.
const longestFunction = 70

func TestFunctionsAreShort(t *testing.T) {
	set, sources := moduleSources(t)
	for _, s := range sources {
		for _, declaration := range s.file.Decls {
			f, ok := declaration.(*ast.FuncDecl)
			if !ok || s.test {
				continue
			}
			lines := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1
			if lines > longestFunction {
				t.Errorf("%s: %s has %d lines; give its parts names of their own, until it has %d", set.Position(f.Pos()), f.Name.Name, lines, longestFunction)
			}
		}
	}
}

func TestPackagesSayWhatLivesThere(t *testing.T) {
	_, sources := moduleSources(t)
	commented := map[string]bool{}
	for _, s := range sources {
		if s.test {
			continue
		}
		commented[s.room()] = commented[s.room()] || s.file.Doc != nil
	}
	for _, room := range keysOf(commented) {
		if !commented[room] {
			t.Errorf("%s: no file has a package comment: say what lives there, and what does not", room)
		}
	}
}

func TestMainIsShort(t *testing.T) {
	data, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(data), "\n"); lines >= 40 {
		t.Errorf("main.go has %d lines; keep it under 40: the program is run, in cli.go", lines)
	}
}

// TestNothingHappensBehindOnesBack looks for init functions, and for package variables that are assigned to.
func TestNothingHappensBehindOnesBack(t *testing.T) {
	set, sources := moduleSources(t)
	variables := map[string]map[string]bool{} // by room
	for _, s := range sources {
		if s.test {
			continue
		}
		for _, name := range packageVariables(s.file) {
			if variables[s.room()] == nil {
				variables[s.room()] = map[string]bool{}
			}
			variables[s.room()][name] = true
		}
	}
	for _, s := range sources {
		if s.test {
			continue
		}
		for _, declaration := range s.file.Decls {
			f, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: an init function runs before anybody asks; do it where it is needed", set.Position(f.Pos()))
			}
			for _, place := range assignedVariables(f, variables[s.room()]) {
				t.Errorf("%s: assigns to the package variable %s; hand it down as an argument", set.Position(place.Pos()), place.Name)
			}
		}
	}
}

func packageVariables(file *ast.File) []string {
	var names []string
	for _, declaration := range file.Decls {
		if g, ok := declaration.(*ast.GenDecl); ok && g.Tok == token.VAR {
			for _, spec := range g.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					names = append(names, name.Name)
				}
			}
		}
	}
	return names
}

// assignedVariables gives the places where a function assigns to a variable of the package. A local variable of the same
// name is declared within the function, and the parser has linked it there.
func assignedVariables(f *ast.FuncDecl, variables map[string]bool) []*ast.Ident {
	local := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, l := range n.Lhs {
					if name, ok := l.(*ast.Ident); ok {
						local[name.Name] = true
					}
				}
			}
		case *ast.Field:
			for _, name := range n.Names {
				local[name.Name] = true
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				local[name.Name] = true
			}
		}
		return true
	})
	var places []*ast.Ident
	note := func(target ast.Expr) {
		for {
			if index, ok := target.(*ast.IndexExpr); ok {
				target = index.X
				continue
			}
			break
		}
		if name, ok := target.(*ast.Ident); ok && variables[name.Name] && !local[name.Name] {
			places = append(places, name)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, target := range n.Lhs {
				note(target)
			}
		case *ast.IncDecStmt:
			note(n.X)
		}
		return true
	})
	return places
}

// TestExportedNames tells, and does not fail: the budget is for thinking about.
func TestExportedNames(t *testing.T) {
	_, sources := moduleSources(t)
	names := map[string]int{}
	for _, s := range sources {
		if s.test || s.file.Name.Name == "main" {
			continue
		}
		for _, declaration := range s.file.Decls {
			names[s.room()] += exportedNames(declaration)
		}
	}
	for _, room := range keysOf(names) {
		budget := 15
		if room == "rating" {
			budget = 60
		}
		if names[room] > budget {
			t.Logf("%s exports %d names; the budget is %d", room, names[room], budget)
		}
	}
}

// exportedNames counts types, functions, and groups of constants and variables.
func exportedNames(declaration ast.Decl) int {
	n := 0
	switch d := declaration.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil && d.Name.IsExported() {
			n++
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					n++
				}
			case *ast.ValueSpec:
				if d.Tok == token.VAR && s.Names[0].IsExported() {
					n++
				}
			}
		}
	}
	return n
}

// TestInterfacesAreSmall: an interface of more than 3 methods asks for more than its caller needs. Those that it embeds are
// judged where they are declared.
func TestInterfacesAreSmall(t *testing.T) {
	set, sources := moduleSources(t)
	for _, s := range sources {
		ast.Inspect(s.file, func(n ast.Node) bool {
			i, ok := n.(*ast.InterfaceType)
			if !ok || s.test {
				return true
			}
			methods := 0
			for _, field := range i.Methods.List {
				methods += len(field.Names)
			}
			if methods > 3 {
				t.Errorf("%s: an interface of %d methods; ask for what is needed here, 3 at most", set.Position(i.Pos()), methods)
			}
			return true
		})
	}
}
