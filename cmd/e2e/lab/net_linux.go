package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// T is what the lab needs of a *testing.T. A program that is no test brings its own.
type T interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any) // does not return
}

// Lab is a little internet: a router with one bridge a network, and a namespace a host.
// Nothing of it is visible from the namespace that its maker runs in.
type Lab struct {
	prefix string // of all namespace names: unique, so that runs beside each other do not meet
	router string
	nets   map[string]string // network ("61.187.64") -> the router's bridge in it
	ports  map[string]string // address -> the router's end of the host's link
}

// namePrefix begins every namespace's name; the process id and the number of the lab in this process follow.
const namePrefix = "peerprobe-e2e-"

var labs atomic.Int64

// Missing says what keeps namespaces from being made here; "" is nothing.
func Missing() string {
	if os.Geteuid() != 0 {
		return "network namespaces need root: run `sudo make test`"
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return "the program ip is missing: install the package iproute2"
	}
	return ""
}

// New makes a router without hosts, and removes what killed runs left.
func New(t T) *Lab {
	t.Helper()
	sweep(t)
	l := &Lab{prefix: fmt.Sprintf("%s%d-%d-", namePrefix, os.Getpid(), labs.Add(1)), nets: map[string]string{}, ports: map[string]string{}}
	l.router = l.addNamespace(t, "router")
	ip(t, "netns", "exec", l.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	return l
}

// sweep removes the namespaces of runs whose process is gone: they were killed before they could do it.
func sweep(t T) {
	t.Helper()
	entries, err := os.ReadDir("/run/netns")
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatalf("list of namespaces: %v", err)
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

func (l *Lab) addNamespace(t T, name string) string {
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

// Namespace is the name of the namespace of the host with this address.
func (l *Lab) Namespace(addr string) string { return l.prefix + addr }

// Host makes a namespace with this address in its /24 and a default route through the router; it returns its name.
func (l *Lab) Host(t T, addr string) string {
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
	port := "port" + strconv.Itoa(len(l.ports))
	l.ports[addr] = port
	ip(t, "-n", l.router, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", ns)
	ip(t, "-n", l.router, "link", "set", port, "master", bridge)
	ip(t, "-n", l.router, "link", "set", port, "up")
	ip(t, "-n", ns, "addr", "add", addr+"/24", "dev", "eth0")
	ip(t, "-n", ns, "link", "set", "eth0", "up")
	ip(t, "-n", ns, "route", "add", "default", "via", network+".1")
	return ns
}

// Unplug takes the carrier from a host's link, as a pulled cable does; Plug brings it back.
func (l *Lab) Unplug(t T, addr string) {
	t.Helper()
	ip(t, "-n", l.router, "link", "set", l.ports[addr], "down")
}

// Plug undoes Unplug.
func (l *Lab) Plug(t T, addr string) {
	t.Helper()
	ip(t, "-n", l.router, "link", "set", l.ports[addr], "up")
}

// Way is from one host to another; the other direction is another one.
type Way struct{ From, To string }

// Drop lets the router drop, silently, what is sent these ways, from one moment on. The two ends have to be in different
// /24s: what stays in one does not pass the router.
func (l *Lab) Drop(t T, ways ...Way) { t.Helper(); l.rules(t, "add", ways) }

// Pass undoes Drop.
func (l *Lab) Pass(t T, ways ...Way) { t.Helper(); l.rules(t, "del", ways) }

func (l *Lab) rules(t T, verb string, ways []Way) {
	t.Helper()
	var batch strings.Builder
	for _, w := range ways {
		if w.From[:strings.LastIndex(w.From, ".")] == w.To[:strings.LastIndex(w.To, ".")] {
			t.Fatalf("%s and %s are in one network: the router does not see what they send", w.From, w.To)
		}
		fmt.Fprintf(&batch, "rule %s from %s to %s blackhole\n", verb, w.From, w.To)
	}
	cmd := exec.Command("ip", "-n", l.router, "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip -batch: %v: %s%s", err, out, batch.String())
	}
}

// Dial opens a connection from inside the namespace of the host. The address has to be numeric.
func (l *Lab) Dial(ctx context.Context, host, network, addr string) (conn net.Conn, err error) {
	err = within(l.Namespace(host), func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// within runs f on a thread that is in the namespace: sockets that f makes on its own goroutine belong there.
func within(ns string, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + ns)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", ns, err)
	}
	err = f()
	// The thread is not ended instead: it may be the parent of processes that would then end too.
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(fmt.Sprintf("cannot leave %s: %v", ns, back))
	}
	return err
}

// Tmpfs mounts a new file system of this size in bytes on a new directory, until the end of the test.
func Tmpfs(t T, dir string, size int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatalf("%v", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.Itoa(size)); err != nil {
		t.Fatalf("mount a tmpfs of %d bytes on %s: %v", size, dir, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// ip runs one ip command and returns what it printed.
func ip(t T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
