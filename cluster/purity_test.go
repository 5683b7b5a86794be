package cluster

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowedImports are the only packages that the core may use.
var allowedImports = []string{
	"bytes", "cmp", "crypto/ed25519", "crypto/sha256", "encoding/base32", "errors", "fmt", "maps", "math/big", "math/bits",
	"math/rand/v2", "slices", "strings", "sync", "time", "github.com/fxamacker/cbor/v2",
}

// allowedFrom are the only names that the core may use of packages that also hold clocks and chance.
var allowedFrom = map[string][]string{
	"time": {"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"},
	"rand": {"Rand"},
	"sync": {"Mutex"},
}

// TestPurity: no clock, no timer, no goroutine, no channel, no socket, no file, no process-wide chance.
func TestPurity(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		seen++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, complaint := range impurities(set, file) {
			t.Error(complaint)
		}
	}
	if seen < 10 {
		t.Errorf("only %d files were looked at", seen)
	}
}

func impurities(set *token.FileSet, file *ast.File) (out []string) {
	complain := func(n ast.Node, text string) { out = append(out, set.Position(n.Pos()).String()+": "+text) }
	for _, imp := range file.Imports {
		if path, _ := strconv.Unquote(imp.Path.Value); !slices.Contains(allowedImports, path) || imp.Name != nil {
			complain(imp, "import of "+path)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			complain(n, "go statement")
		case *ast.ChanType, *ast.SelectStmt:
			complain(n, "channel")
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); ok && pkg.Obj == nil {
				if names, limited := allowedFrom[pkg.Name]; limited && !slices.Contains(names, n.Sel.Name) {
					complain(n, pkg.Name+"."+n.Sel.Name)
				}
			}
		}
		return true
	})
	return out
}

// TestPurityFinds shows that the check is not blind.
func TestPurityFinds(t *testing.T) {
	for _, src := range []string{
		`import "os"`, `import "net"`, `import "time"; var _ = time.Now()`, `import "time"; var _ = time.After`,
		`import "math/rand/v2"; var _ = rand.Int()`, `func f() { go f() }`, `var c chan int`, `import t "time"; var _ = t.Now()`,
	} {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, "x.go", "package x\n"+src, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(impurities(set, file)) == 0 {
			t.Errorf("not found: %s", src)
		}
	}
}

// TestReplay: the same schedule gives the same outputs, byte by byte.
func TestReplay(t *testing.T) {
	play := func() string {
		n := newNetwork(t, 40)
		n.drop, n.double, n.jitter = 0.05, 0.05, 3e6
		all := n.city("wuhan", 9)
		n.kill(n.leader(all...), true)
		n.run(20e9)
		return n.describe() + strconv.Itoa(n.sent)
	}
	if a, b := play(), play(); a != b {
		t.Errorf("two plays differ:\n%s\n%s", a, b)
	}
}
