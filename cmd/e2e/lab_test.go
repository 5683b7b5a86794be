//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// lab is a little internet: a router with one bridge a network, and a namespace a host.
// Nothing of it is visible from the namespace that the test runs in.
type lab struct {
	prefix string // of all namespace names: unique to this process, so that runs beside each other do not meet
	router string
	hosts  int
	nets   map[string]string // network ("61.187.64") -> the router's bridge in it
}

// namePrefix begins every namespace's name; the process id follows.
const namePrefix = "peerprobe-e2e-"

// needLab skips, or fails where everything has to run, unless namespaces can be made here.
func needLab(t *testing.T) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "network namespaces need root: run `sudo make test`"
	} else if _, err := exec.LookPath("ip"); err != nil {
		why = "the program ip is missing: install the package iproute2"
	}
	switch {
	case why == "":
	case os.Getenv("PEERPROBE_TEST_ALL") != "":
		t.Fatal(why)
	default:
		t.Skip(why)
	}
}

func newLab(t *testing.T) *lab {
	t.Helper()
	sweep(t)
	l := &lab{prefix: namePrefix + strconv.Itoa(os.Getpid()) + "-", nets: map[string]string{}}
	l.router = l.addNamespace(t, "router")
	ip(t, "netns", "exec", l.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	return l
}

// sweep removes the namespaces of runs whose process is gone: they were killed before they could do it.
func sweep(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir("/run/netns")
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), namePrefix)
		pid, _, _ := strings.Cut(rest, "-")
		if !ours {
			continue
		}
		if _, err := os.Stat(filepath.Join("/proc", pid)); os.IsNotExist(err) {
			ip(t, "netns", "del", e.Name())
		}
	}
}

func (l *lab) addNamespace(t *testing.T, name string) string {
	t.Helper()
	ns := l.prefix + name
	ip(t, "netns", "add", ns)
	t.Cleanup(func() {
		if pids := strings.Fields(ip(t, "netns", "pids", ns)); len(pids) > 0 {
			t.Errorf("processes %v are still alive in %s", pids, ns)
		}
		ip(t, "netns", "del", ns)
	})
	ip(t, "-n", ns, "link", "set", "lo", "up")
	return ns
}

// host makes a namespace with this address in its /24 and a default route through the router; it returns its name.
func (l *lab) host(t *testing.T, addr string) string {
	t.Helper()
	network := addr[:strings.LastIndex(addr, ".")]
	bridge, ok := l.nets[network]
	if !ok {
		bridge = fmt.Sprintf("br%d", len(l.nets))
		l.nets[network] = bridge
		ip(t, "-n", l.router, "link", "add", bridge, "type", "bridge")
		ip(t, "-n", l.router, "addr", "add", network+".1/24", "dev", bridge)
		ip(t, "-n", l.router, "link", "set", bridge, "up")
	}
	ns := l.addNamespace(t, addr)
	l.hosts++
	port := fmt.Sprintf("port%d", l.hosts)
	ip(t, "-n", l.router, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", ns)
	ip(t, "-n", l.router, "link", "set", port, "master", bridge)
	ip(t, "-n", l.router, "link", "set", port, "up")
	ip(t, "-n", ns, "addr", "add", addr+"/24", "dev", "eth0")
	ip(t, "-n", ns, "link", "set", "eth0", "up")
	ip(t, "-n", ns, "route", "add", "default", "via", network+".1")
	return ns
}

// ip runs one ip command and returns what it printed.
func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
