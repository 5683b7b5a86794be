//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Network namespaces: a bridge in the lab's own, and one for each node, with a cable between. They end with the
// processes in them.

const (
	roleSpace  = "space"
	labAddress = "10.77.0.1"
	atATime    = 8 // nodes that start together
)

// spaceJob is what the first process of a namespace is told.
type spaceJob struct {
	Addr string
	Argv []string
	Env  []string
}

// field is one system, a namespace a node.
type field struct {
	job    labJob
	dir    string
	rs     *space
	spaces []*space
}

// space is a process, in a namespace of its own or (the registry) in the lab's.
type space struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// quietV6: addresses that configure themselves would count as packets.
func quietV6() error {
	return errors.Join(os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0o644),
		os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0o644))
}

func bridge() error {
	return errors.Join(quietV6(), ip("link", "set", "lo", "up"), ip("link", "add", "br0", "type", "bridge"),
		ip("addr", "add", labAddress+"/16", "dev", "br0"), ip("link", "set", "br0", "up"))
}

// enterSpace waits for the cable and becomes the program.
func enterSpace(told []byte) error {
	var j spaceJob
	if err := json.Unmarshal(told, &j); err != nil {
		return err
	}
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil { // no more: the rest is the program's
		return err
	}
	if err := errors.Join(quietV6(), ip("link", "set", "lo", "up"), ip("addr", "add", j.Addr+"/16", "dev", "eth0"), ip("link", "set", "eth0", "up")); err != nil {
		return err
	}
	if err := os.Unsetenv(actorEnv); err != nil { // of two, the first would count
		return err
	}
	return syscall.Exec(j.Argv[0], j.Argv, append(os.Environ(), j.Env...))
}

func nodeAddress(i int) string { return fmt.Sprintf("10.77.1.%d", 1+i) }

// launch starts a process; what it says on stdout comes in lines.
func launch(argv, env []string, flags uintptr) (*space, error) {
	s := &space{cmd: exec.Command(argv[0], argv[1:]...), lines: make(chan string, 64)}
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	return s, nil
}

// node starts a program in a namespace of its own.
func (f *field) node(i int, argv, env []string) (*space, error) {
	told, err := json.Marshal(spaceJob{Addr: nodeAddress(i), Argv: argv, Env: env})
	if err != nil {
		return nil, err
	}
	s, err := launch([]string{f.job.Self, string(told)}, []string{actorEnv + "=" + roleSpace}, syscall.CLONE_NEWNET)
	if err != nil {
		return nil, err
	}
	f.spaces = append(f.spaces, s)
	cable := "v" + strconv.Itoa(i)
	if err := errors.Join(ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(s.cmd.Process.Pid)),
		ip("link", "set", cable, "master", "br0"), ip("link", "set", cable, "up")); err != nil {
		return nil, err
	}
	_, err = s.in.Write([]byte{'\n'})
	return s, err
}

// hear reads lines until one holds the text.
func (s *space) hear(text string) (string, error) {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return "", errors.New("it has ended")
			}
			if strings.Contains(line, text) {
				return line, nil
			}
		case <-limit.C:
			return "", fmt.Errorf("not said within %v: %q", patience, text)
		}
	}
}

// listen reads what else it says, for ever: a pipe that nobody reads stops the program.
func (s *space) listen() {
	go func() {
		for range s.lines {
		}
	}()
}

func (s *space) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	s.listen()
	_ = s.cmd.Wait()
}

func (f *field) end() {
	for _, s := range f.spaces {
		s.kill()
	}
	if f.rs != nil {
		f.rs.kill()
	}
}

// peerprobes starts a registry and nodes of one city.
func (f *field) peerprobes(n int) (err error) {
	if f.rs, err = launch([]string{f.job.Bin, "rs", "--data", filepath.Join(f.dir, "rs"), "--listen", labAddress + ":7400",
		"--p2p", "/ip4/" + labAddress + "/tcp/7401", "--advertise", labAddress, "--members", strconv.Itoa(n + 10)}, nil, 0); err != nil {
		return err
	}
	if _, err := f.rs.hear("peerprobe join"); err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	f.rs.listen()
	waiting := []*space{}
	for i := range n {
		s, err := f.node(i, []string{f.job.Bin, "join", "--rs", labAddress + ":7400", "--city", "wuhan", "--data", filepath.Join(f.dir, strconv.Itoa(i))}, nil)
		if err != nil {
			return err
		}
		if waiting = append(waiting, s); len(waiting) < atATime && i > 0 && i < n-1 {
			continue
		}
		for _, s := range waiting {
			if _, err := s.hear("joined"); err != nil {
				return fmt.Errorf("node: %w", err)
			}
			s.listen()
		}
		waiting = nil
	}
	return nil
}

// memberlists starts members that find one another through the first.
func (f *field) memberlists(n int) error {
	var peers []string
	for i := range n {
		peers = append(peers, nodeAddress(i)+":7946")
	}
	for i := range n {
		told, err := json.Marshal(part{Index: i, Peers: peers})
		if err != nil {
			return err
		}
		if _, err := f.node(i, []string{f.job.Self, string(told)}, []string{actorEnv + "=memberlist"}); err != nil {
			return err
		}
	}
	for i, s := range f.spaces { // everybody has met everybody
		met := map[int]bool{}
		for len(met) < n {
			line, err := s.hear(sayBack)
			if err != nil {
				return fmt.Errorf("member %d has met %d of %d: %w", i, len(met), n, err)
			}
			var h said
			if err := json.Unmarshal([]byte(line), &h); err != nil {
				return err
			}
			met[h.Who] = true
		}
		s.listen()
	}
	return nil
}
