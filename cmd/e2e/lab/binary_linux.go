package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// commandPatience bounds one command or request: see readyPatience.
const commandPatience = 30 * time.Second

// Binary is the program, built once, and a folder for everything that it leaves.
type Binary struct {
	Dir  string // short: control sockets lie below it
	Path string
}

// Build compiles the program, with the race detector or, as it is delivered, without. Remove its folder at the end.
func Build(race bool) (*Binary, error) {
	dir, err := os.MkdirTemp("", "pp")
	if err != nil {
		return nil, err
	}
	b := &Binary{Dir: dir, Path: filepath.Join(dir, "peerprobe")}
	cmd := exec.Command("go", "build", "-race="+strconv.FormatBool(race), "-o", b.Path, "github.com/peerprobe/peerprobe")
	if !race {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("go build: %w: %s", err, out), os.RemoveAll(dir))
	}
	return b, os.Mkdir(filepath.Join(dir, "run"), 0o700)
}

// Scratch is a new directory with a short path: control sockets lie in it.
func (b *Binary) Scratch(t T) string {
	t.Helper()
	dir, err := os.MkdirTemp(b.Dir, "")
	if err != nil {
		t.Fatalf("%v", err)
	}
	return dir
}

// Ask runs a command of the program beside the node with this data directory and decodes its JSON.
func (b *Binary) Ask(data string, into any, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.Path, append(args, "--data", data, "-J")...)
	cmd.Env = append(os.Environ(), "CI=true")
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return fmt.Errorf("peerprobe %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("peerprobe %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Get fetches an URL from inside a host's namespace and decodes its JSON.
func (l *Lab) Get(host, url string, into any) error {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return l.Dial(ctx, host, network, addr)
		},
		DisableKeepAlives: true,
	}
	client := &http.Client{Transport: transport, Timeout: commandPatience}
	res, err := client.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("get %s: %w", url, err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s: %s", url, res.Status, body)
	}
	return json.Unmarshal(body, into)
}
