// Command vuln runs govulncheck over the module and judges what it finds: a known vulnerability that the code
// can reach fails, unless it is in accepted, with the reason why it does no harm here.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// accepted: the vulnerabilities that have no fix and that something else stands against.
var accepted = map[string]string{
	"GO-2024-3218": "kad-dht, every version: many false identities close to a key can hide its value. " +
		"Here only hosts with an admission signed by the network key take part in the DHT, its values are signed, " +
		"and the heads' own tables and the lists in the certificates are found without it.",
}

// patience is how long the scan may take; an unreachable database answers sooner.
const patience = 5 * time.Minute

var errUnasked = errors.New("the vulnerability database could not be asked")

// message is one of govulncheck's JSON messages, without what is not used.
type message struct {
	Config  *struct{ DB string }
	Finding *struct {
		OSV          string
		FixedVersion string `json:"fixed_version"`
		Trace        []struct{ Module, Version, Package, Function string }
	}
}

func main() {
	db := flag.String("db", "", "URL of a vulnerability database instead of the public one")
	unaskedOK := flag.Bool("unasked-ok", false, "exit 0, and say so, when the database cannot be asked")
	flag.Parse()
	found, err := scan(*db)
	if err != nil && !errors.Is(err, errUnasked) {
		fmt.Println("vuln:", err)
		os.Exit(1)
	}
	if err != nil {
		fmt.Println("vuln: NOT CHECKED:", err)
		fmt.Println("vuln: run `make vuln` where https://vuln.go.dev answers, or with VULNDB=file:///path/of/a/copy")
		if *unaskedOK {
			return
		}
		os.Exit(1)
	}
	bad := 0
	for _, id := range slices.Sorted(maps.Keys(found)) {
		if why, ok := accepted[id]; ok {
			fmt.Printf("vuln: %s accepted: %s\n", id, why)
			continue
		}
		bad++
		fmt.Printf("vuln: %s reaches this code: %s, see https://pkg.go.dev/vuln/%s\n", id, found[id], id)
	}
	if bad > 0 {
		os.Exit(1)
	}
	fmt.Println("vuln: no vulnerability that matters here is known")
}

// scan returns the vulnerabilities with a symbol or package that the code reaches, with the module that has it.
func scan(db string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	args := []string{"tool", "govulncheck", "-format", "json"}
	if db != "" {
		args = append(args, "-db", db)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./...")...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if strings.Contains(said.String(), "fetching vulnerabilities") {
		return nil, fmt.Errorf("%w: %s", errUnasked, strings.TrimSpace(said.String()))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	found := map[string]string{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var m message
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("govulncheck's answer: %w", err)
		}
		if f := m.Finding; f != nil && len(f.Trace) > 0 && f.Trace[0].Function != "" {
			found[f.OSV] = f.Trace[0].Module + "@" + f.Trace[0].Version + ", fixed in " + cmp.Or(f.FixedVersion, "no version yet")
		}
	}
}
