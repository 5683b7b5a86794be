package cmd_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What the architecture promises about the code itself, kept as tests: who may import whom, that every package
// says what it is for, that nothing grows past what a reader can hold in his head, and a few habits.

const module = "github.com/peerprobe/peerprobe"

// The caps. A file, a function and a struct beyond them are several things in one.
const (
	maxFileLines   = 500
	maxFuncLines   = 80
	maxFields      = 15  // of a struct that has methods and state
	minDocRunes    = 120 // a package comment: what it is for, what it is not for, what it promises
	fewestPackages = 9   // a listing that finds fewer has looked in the wrong place
)

// arrow forbids an import: by a package (or, with "/..." at the end, by it and all below it) of another
// (likewise), except by or of the packages named.
type arrow struct {
	from, to string
	except   []string // importing packages that may
	reason   string
}

// arrows: paths without a dot in their first element are the standard library's or, with "./", this module's.
var arrows = []arrow{
	{"./cluster", "./...", nil, "the core is pure: it imports nothing of ours"},
	{"./probe", "./...", nil, "measuring knows no roles, no store and no transport of ours"},
	{"./cluster", "os", nil, "the core does no I/O"},
	{"./cluster", "net", nil, "the core does no I/O"},
	{"./cluster", "net/...", nil, "the core does no I/O: addresses are opaque bytes to it"},
	{"./cluster", "log/...", nil, "the core logs nothing: events are values that it returns"},
	{"./cluster", "log", nil, "the core logs nothing"},
	{"./store", "./node/...", nil, "tables know values, not the peer that fills them"},
	{"./store", "./cmd/...", nil, "tables know values, not commands"},
	{"./node/locate", "./...", nil, "an address is turned into a city without the rest of the program"},
	{"./node/web", "./store", nil, "the web side declares the interface that it reads"},
	{"./node/p2p", "./node", nil, "the transport is below the peer"},
	{"./node/p2p", "./node/registry", nil, "the transport is below the roles"},
	{"./node/p2p", "./store", nil, "the transport keeps nothing"},
	{"./node/keyfile", "./...", nil, "a key is read and written without the rest of the program"},
	{"./node/registry", "./node", nil, "the registry is a role beside the peer, not part of it"},
	{"./node", "./node/registry", nil, "a peer talks to a registry over the wire only"},
	{"./node/...", "./cmd/...", nil, "commands use the library, never the other way round"},
	{"./...", "github.com/libp2p/go-libp2p/...", []string{"./node/..."}, "libp2p stays in node"},
	{"./...", "github.com/libp2p/go-libp2p", []string{"./node/..."}, "libp2p stays in node"},
	{"./...", "github.com/libp2p/go-libp2p-kad-dht/...", []string{"./node/..."}, "the DHT stays in node"},
	{"./...", "github.com/libp2p/go-libp2p-kad-dht", []string{"./node/..."}, "the DHT stays in node"},
	{"./...", "github.com/libp2p/go-libp2p-record", []string{"./node/..."}, "the DHT stays in node"},
	{"./...", "go.etcd.io/bbolt", []string{"./store/..."}, "one package knows how tables are kept"},
	{"./...", "github.com/spf13/cobra", []string{"./cmd/..."}, "one package knows the command line"},
	{"./...", "log", nil, "log/slog, handed in"},
	{"./...", "log/slog", []string{"./node/...", "./cmd/..."}, "only node and cmd log"},
	{"./...", "math/rand", nil, "math/rand/v2 with a generator that was handed in, or crypto/rand"},
	{"./...", "testing", []string{"./store/storetest"}, "tests stay out of the program"},
}

// coreImports is all that the pure core may import beyond the standard library.
var coreImports = []string{"crypto/ed25519", "github.com/fxamacker/cbor/v2"}

type goPackage struct {
	Dir, ImportPath, Name                     string
	Imports, TestImports, XTestImports        []string
	GoFiles, IgnoredGoFiles, TestGoFiles      []string
	XTestGoFiles, CgoFiles, IgnoredOtherFiles []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=Dir,ImportPath,Name,Imports,TestImports,XTestImports,GoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p goPackage
		if err := dec.Decode(&p); err != nil {
			t.Fatalf("go list's answer: %v", err)
		}
		all = append(all, p)
	}
	if len(all) < fewestPackages {
		t.Fatalf("go list found %d packages, at least %d are there", len(all), fewestPackages)
	}
	return all
}

func within(path, pattern string) bool {
	pattern = strings.Replace(pattern, "./", module+"/", 1)
	if base, all := strings.CutSuffix(pattern, "/..."); all {
		return path == base || strings.HasPrefix(path, base+"/")
	}
	return path == pattern
}

func TestImportArrows(t *testing.T) {
	packages := listPackages(t)
	used := make([]bool, len(arrows))
	for _, p := range packages {
		for i, a := range arrows {
			if !within(p.ImportPath, a.from) || slices.ContainsFunc(a.except, func(e string) bool { return within(p.ImportPath, e) }) {
				continue
			}
			used[i] = true
			for _, imported := range p.Imports {
				if within(imported, a.to) && imported != p.ImportPath {
					t.Errorf("%s imports %s: %s", p.ImportPath, imported, a.reason)
				}
			}
		}
		checkCore(t, p)
	}
	for i, a := range arrows {
		if !used[i] && a.from != "./node/web" { // not written yet; the arrow waits for it
			t.Errorf("no package matches %s: the arrow to %s guards nothing", a.from, a.to)
		}
	}
}

func checkCore(t *testing.T, p goPackage) {
	if p.ImportPath != module+"/cluster" {
		return
	}
	for _, imported := range p.Imports {
		if strings.Contains(strings.Split(imported, "/")[0], ".") && !slices.Contains(coreImports, imported) {
			t.Errorf("cluster imports %s: beyond the standard library it may use %v only", imported, coreImports)
		}
	}
}

// sourceFile is one parsed file of the module.
type sourceFile struct {
	pkg  goPackage
	path string // below the module's root
	test bool
	ast  *ast.File
	fset *token.FileSet
}

func (f sourceFile) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.path, f.fset.Position(n.Pos()).Line)
}

func (f sourceFile) lines(n ast.Node) int {
	return f.fset.Position(n.End()).Line - f.fset.Position(n.Pos()).Line + 1
}

// sources parses every file of every package, those for other systems too.
func sources(t *testing.T) []sourceFile {
	t.Helper()
	root := moduleRoot(t)
	var all []sourceFile
	for _, p := range listPackages(t) {
		for _, name := range slices.Concat(p.GoFiles, p.IgnoredGoFiles, p.TestGoFiles, p.XTestGoFiles) {
			path := filepath.Join(p.Dir, name)
			fset := token.NewFileSet()
			tree, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, sourceFile{p, rel, strings.HasSuffix(name, "_test.go"), tree, fset})
		}
	}
	if len(all) == 0 {
		t.Fatal("no source file found")
	}
	return all
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatalf("go list -m: %v", err)
	}
	return strings.TrimSpace(string(out))
}

func TestPackagesSayWhatTheyAreFor(t *testing.T) {
	docs := map[string]string{}
	for _, f := range sources(t) {
		if !f.test {
			docs[f.pkg.ImportPath] += f.ast.Doc.Text()
		}
	}
	for path, doc := range docs {
		if n := len([]rune(strings.TrimSpace(doc))); n < minDocRunes {
			t.Errorf("%s: its package comment has %d characters; say what it is for, what not, and what it promises (%d at least)", path, n, minDocRunes)
		}
	}
}

func TestNothingGrowsTooLarge(t *testing.T) {
	for _, f := range sources(t) {
		if generated(f) {
			continue
		}
		if n := f.fset.File(f.ast.FileStart).LineCount(); n > maxFileLines {
			t.Errorf("%s has %d lines, at most %d", f.path, n, maxFileLines)
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.lines(fn) > maxFuncLines {
				t.Errorf("%s: %s has %d lines, at most %d", f.at(fn), fn.Name.Name, f.lines(fn), maxFuncLines)
			}
		}
	}
}

func generated(f sourceFile) bool { return ast.IsGenerated(f.ast) }

// TestStructsStaySmall counts the fields of structs that have methods and state. Free are structs that only carry
// values: all their fields exported or tagged for a wire (messages, results), and settings, by their names.
func TestStructsStaySmall(t *testing.T) {
	withMethods := map[string]bool{}
	files := sources(t)
	for _, f := range files {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil {
				withMethods[f.pkg.ImportPath+"."+receiver(fn)] = true
			}
		}
	}
	if len(withMethods) == 0 {
		t.Fatal("no type with methods found")
	}
	for _, f := range files {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok || !withMethods[f.pkg.ImportPath+"."+spec.Name.Name] || onlyCarries(s) || isSettings(spec.Name.Name) {
				return true
			}
			if n := s.Fields.NumFields(); n > maxFields {
				t.Errorf("%s: %s has methods, state and %d fields, at most %d", f.at(spec), spec.Name.Name, n, maxFields)
			}
			return true
		})
	}
}

func receiver(fn *ast.FuncDecl) string {
	typ := fn.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

func isSettings(name string) bool {
	return strings.HasSuffix(name, "Config") || strings.HasSuffix(name, "Options")
}

func onlyCarries(s *ast.StructType) bool {
	for _, field := range s.Fields.List {
		tagged := field.Tag != nil && (strings.Contains(field.Tag.Value, "cbor:") || strings.Contains(field.Tag.Value, "json:"))
		for _, name := range field.Names {
			if !name.IsExported() && !tagged {
				return false
			}
		}
	}
	return true
}

// banned calls, where they are banned, and what to do instead.
var banned = []struct {
	pkg, name string
	where     func(sourceFile) bool
	instead   string
}{
	{"time", "Sleep", func(f sourceFile) bool { return !importsPath(f, "testing/synctest") }, "wait for the event; only a synctest bubble may sleep"},
	{"os", "Exit", func(f sourceFile) bool { return f.pkg.Name != "main" && !f.test }, "return the error; only main exits"},
	{"log", "Fatal", notExample, "return the error"},
	{"log", "Fatalf", notExample, "return the error"},
	{"log", "Fatalln", notExample, "return the error"},
	{"slog", "Default", func(f sourceFile) bool { return !strings.HasPrefix(f.path, "cmd/") }, "take the logger that is handed in"},
	{"cluster", "NewTrustBy", func(f sourceFile) bool { return f.pkg.ImportPath != module+"/cluster/sim" }, "NewTrust: only the simulator may take signatures that are none"},
	{"time", "Now", inCore, "time comes in with the input"},
	{"time", "Since", inCore, "time comes in with the input"},
	{"time", "After", inCore, "the caller arms the timer"},
	{"time", "AfterFunc", inCore, "the caller arms the timer"},
	{"time", "NewTimer", inCore, "the caller arms the timer"},
	{"time", "NewTicker", inCore, "the caller arms the timer"},
	{"time", "Tick", inCore, "the caller arms the timer"},
}

// globalRand: the package-level generators of math/rand/v2, which no test can replay.
var globalRand = []string{"Int", "IntN", "Int32", "Int32N", "Int64", "Int64N", "Uint32", "Uint32N", "Uint64", "Uint64N", "UintN", "Float32", "Float64", "Perm", "Shuffle", "N", "NormFloat64", "ExpFloat64"}

// notExample: an example is what somebody's main would hold.
func notExample(f sourceFile) bool { return filepath.Base(f.path) != "example_test.go" }

func inCore(f sourceFile) bool { return f.pkg.ImportPath == module+"/cluster" && !f.test }

func importsPath(f sourceFile, path string) bool {
	return slices.ContainsFunc(f.ast.Imports, func(i *ast.ImportSpec) bool {
		p, err := strconv.Unquote(i.Path.Value)
		return err == nil && p == path
	})
}

func TestHabits(t *testing.T) {
	for _, f := range sources(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, b := range banned {
				if x.Name == b.pkg && sel.Sel.Name == b.name && importsPath(f, packagePath(b.pkg)) && b.where(f) {
					t.Errorf("%s: %s.%s: %s", f.at(sel), b.pkg, b.name, b.instead)
				}
			}
			if x.Name == "rand" && inCore(f) && importsPath(f, "math/rand/v2") && slices.Contains(globalRand, sel.Sel.Name) {
				t.Errorf("%s: rand.%s: draw from the generator that is handed in", f.at(sel), sel.Sel.Name)
			}
			return true
		})
	}
}

func packagePath(name string) string {
	switch name {
	case "slog":
		return "log/slog"
	case "cluster":
		return module + "/cluster"
	}
	return name
}

// TestCoreStartsNothing: a goroutine, a channel or a mutex held by the core would hide time and order from tests.
func TestCoreStartsNothing(t *testing.T) {
	seen := false
	for _, f := range sources(t) {
		if !inCore(f) {
			continue
		}
		seen = true
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s: the core starts a goroutine", f.at(g))
			}
			return true
		})
	}
	if !seen {
		t.Fatal("no file of the core found")
	}
}
