package node_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
)

// rawMeasure posts a measurement on the control socket and gives the bare connection.
func rawMeasure(t *testing.T, data, id, body string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", node.ControlPath(data))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST /v1/measurements/%s HTTP/1.1\r\nHost: node\r\nContent-Length: %d\r\n\r\n%s", id, len(body), body); err != nil {
		t.Fatal(err)
	}
	return conn
}

func request(count int, interval time.Duration) string {
	return fmt.Sprintf(`{"to":"wuhan","params":{"count":%d,"intervalMs":%g,"size":200,"timeoutMs":500}}`, count, float64(interval.Microseconds())/1000)
}

// A client that reads nothing does not hold up what is measured, nor the node's end.
func TestSlowClient(t *testing.T) {
	m := testMesh(t)
	c := m.join(t, "changsha", "c1")
	m.join(t, "wuhan", "w1")
	rawMeasure(t, status(t, c).Data, "slow", request(2500, time.Millisecond)) // more lines than queue and socket hold
	eventually(t, c, "the measurement ends", func(node.Status) bool {
		page, err := c.Results(context.Background(), node.ResultQuery{})
		if err != nil || len(page.Results) == 0 {
			return false
		}
		if r := page.Results[0]; r.Status != probe.StatusFinished || r.Latency.Received < 2000 {
			t.Errorf("status %s, %v, %d received", r.Status, r.Error, r.Latency.Received)
		}
		return true
	})
}

// A client that vanishes midway ends its measurement; what was measured is kept.
func TestVanishedClient(t *testing.T) {
	m := testMesh(t)
	c := m.join(t, "changsha", "c1")
	m.join(t, "wuhan", "w1")
	conn := rawMeasure(t, status(t, c).Data, "gone", request(5000, 10*time.Millisecond))
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, `"sample"`) {
			break
		}
	}
	conn.Close()
	eventually(t, c, "a partial result", func(node.Status) bool {
		page, err := c.Results(context.Background(), node.ResultQuery{})
		return err == nil && len(page.Results) == 1 && page.Results[0].Status == probe.StatusPartial
	})
}

func TestMeasurementIDs(t *testing.T) {
	m := testMesh(t)
	c := m.join(t, "changsha", "c1")
	m.join(t, "wuhan", "w1")
	first := bufio.NewReader(rawMeasure(t, status(t, c).Data, "same", request(5000, 10*time.Millisecond)))
	if line, err := first.ReadString('\n'); err != nil || !strings.Contains(line, "200 OK") {
		t.Fatalf("%q, %v", line, err)
	}
	for _, bad := range []struct{ id, body, says string }{
		{"same", request(1, time.Millisecond), "409"},
		{"other", "{", "400"},
		{"large", `{"to":"` + strings.Repeat("x", 1<<17) + `"}`, "400"},
	} {
		conn := rawMeasure(t, status(t, c).Data, bad.id, bad.body)
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.Contains(line, bad.says) {
			t.Errorf("%s: %q, %v", bad.id, line, err)
		}
	}
}

// Ctrl-C at every stage of a client's measurement: it returns soon, with what there is or one sentence.
func TestClientStops(t *testing.T) {
	m := testMesh(t)
	c := m.join(t, "changsha", "c1")
	m.join(t, "wuhan", "w1")
	client, err := node.Dial(node.ControlPath(status(t, c).Data))
	if err != nil {
		t.Fatal(err)
	}
	req := quick("wuhan")
	req.Params.Count, req.Params.Interval = 3000, 10*time.Millisecond
	for _, stage := range []string{"before", "at once", "step", "start", "sample"} {
		t.Run(stage, func(t *testing.T) {
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			req := req
			req.OnProgress = func(p node.Progress) {
				if stage == "step" && p.Step != nil || stage == "start" && p.Start != nil || stage == "sample" && p.Sample != nil {
					cancel()
				}
			}
			began := time.Now()
			switch stage {
			case "before":
				cancel()
			case "at once":
				go cancel()
			}
			got, err := client.Measure(ctx, req)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			switch {
			case err != nil && (!errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "\n") || errors.Is(err, node.ErrNoCandidate)):
				t.Errorf("error %v", err)
			case err == nil && got.Status != probe.StatusPartial && got.Status != probe.StatusFailed:
				t.Errorf("status %s", got.Status)
			case err != nil && stage == "sample":
				t.Errorf("nothing came back: %v", err)
			case stage == "sample" && strings.Contains(got.Results[0].Error.Message, "context"):
				t.Errorf("it says %q", got.Results[0].Error.Message)
			}
		})
	}
}

// The same in one process.
func TestMeasureStops(t *testing.T) {
	m := testMesh(t)
	c := m.join(t, "changsha", "c1")
	m.join(t, "wuhan", "w1")
	for _, stage := range []string{"before", "step", "start"} {
		ctx, cancel := context.WithCancel(testContext(t))
		req := quick("wuhan")
		req.Params.Count, req.Params.Interval = 3000, 10*time.Millisecond
		req.OnProgress = func(p node.Progress) {
			if stage == "step" && p.Step != nil || stage == "start" && p.Start != nil {
				cancel()
			}
		}
		if stage == "before" {
			cancel()
		}
		got, err := c.Measure(ctx, req)
		if err != nil && (!errors.Is(err, context.Canceled) || errors.Is(err, node.ErrNoCandidate) || errors.Is(err, node.ErrBusy) || errors.Is(err, node.ErrNoHead)) {
			t.Errorf("%s: error %v", stage, err)
		}
		if err == nil && got.Status == probe.StatusFinished {
			t.Errorf("%s: it ran to its end", stage)
		}
		cancel()
	}
}

// Sockets: a data directory too deep for one, two nodes at once, one that a killed process left behind.
func TestSockets(t *testing.T) {
	run := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", run)
	m := testMesh(t)
	deep := filepath.Join(m.dir, strings.Repeat("deep/", 30))
	cfg := m.config("changsha", "c1")
	cfg.Data = deep
	a, err := node.Join(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.nodes = append(m.nodes, a)
	b := m.join(t, "changsha", "c2")
	want := []string{node.ControlPath(deep), node.ControlPath(status(t, b).Data)}
	slices.Sort(want)
	got := node.FindSockets()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
	for _, path := range want {
		client, err := node.Dial(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Status(testContext(t)); err != nil {
			t.Error(err)
		}
	}
	m.gone(a)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if got := node.FindSockets(); len(got) != 1 || got[0] != node.ControlPath(status(t, b).Data) {
		t.Errorf("after one has left: %v", got)
	}

	// A socket that nobody listens on is replaced, and its link goes.
	stale := node.ControlPath(m.config("", "c3").Data)
	if err := os.MkdirAll(filepath.Dir(stale), 0o700); err != nil {
		t.Fatal(err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	link := filepath.Join(run, "peerprobe", "stale.sock")
	if err := os.Symlink(stale, link); err != nil {
		t.Fatal(err)
	}
	if got := node.FindSockets(); len(got) != 1 {
		t.Errorf("a dead socket is found: %v", got)
	}
	if _, err := os.Lstat(link); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its link is still there: %v", err)
	}
	if _, err := node.Dial(stale); err == nil || !strings.Contains(err.Error(), "peerprobe join") {
		t.Errorf("error %v", err)
	}
	m.join(t, "changsha", "c3")
	if got := node.FindSockets(); len(got) != 2 {
		t.Errorf("found %v", got)
	}

	// A folder that others may write to is not believed.
	if err := os.Chmod(filepath.Join(run, "peerprobe"), 0o777); err != nil {
		t.Fatal(err)
	}
	if got := node.FindSockets(); len(got) != 0 {
		t.Errorf("found %v in a folder that anybody may write to", got)
	}
}
