package node

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The local API of a running node is HTTP on a unix socket in its data directory. A link in a folder of
// this user's lets commands find it without being told where the data directory is.

const (
	controlName   = "control.sock"
	maxSocketPath = 100         // bytes; sun_path holds 104 on macOS and 108 on Linux, with its final zero
	probeSocket   = time.Second // a local socket answers in microseconds, or nobody listens
)

// ControlPath is the local API socket of the node whose data directory this is. A path that the system
// could not bind is replaced by one in the user's runtime folder; both sides compute the same.
func ControlPath(data string) string {
	abs, err := filepath.Abs(data)
	if err != nil {
		abs = data
	}
	path := filepath.Join(abs, controlName)
	if len(path) <= maxSocketPath {
		return path
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(runtimeDir(), "long-"+hex.EncodeToString(sum[:8])+".sock")
}

// runtimeDir is where running nodes of this user link their sockets.
func runtimeDir() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "peerprobe")
	}
	return filepath.Join(os.TempDir(), "peerprobe-"+strconv.Itoa(os.Getuid()))
}

// FindSockets lists the local API sockets of this user's running nodes. Links whose node is gone are
// passed over, and removed.
func FindSockets() []string {
	if info, err := os.Lstat(runtimeDir()); err != nil || !info.IsDir() || !ownedByUs(info) {
		return nil // somebody else's folder would name somebody else's node
	}
	links, _ := filepath.Glob(filepath.Join(runtimeDir(), "*.sock"))
	var found []string
	for _, link := range links {
		target := link
		if t, err := os.Readlink(link); err == nil {
			target = t
		}
		conn, err := net.DialTimeout("unix", target, probeSocket)
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) {
			os.Remove(link)
		}
		if err != nil {
			continue // gone, or too busy to answer
		}
		conn.Close()
		found = append(found, target)
	}
	return found
}

// listenControl binds the socket and links it. The caller holds the data directory's lock, so a socket
// that is there already was left by a process that was killed.
func listenControl(data string) (net.Listener, func(), error) {
	path := ControlPath(data)
	if err := privateDir(runtimeDir()); err != nil {
		return nil, nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("local API socket %s is in the way: %w", path, err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, nil, fmt.Errorf("local API socket %s: %w", path, err)
	}
	if err := os.Chmod(path, keyMode); err != nil {
		ln.Close()
		return nil, nil, fmt.Errorf("local API socket %s: %w", path, err)
	}
	link := ""
	if !strings.HasPrefix(filepath.Base(path), "long-") {
		sum := sha256.Sum256([]byte(path))
		link = filepath.Join(runtimeDir(), hex.EncodeToString(sum[:8])+".sock")
		os.Remove(link)
		if err := os.Symlink(path, link); err != nil {
			link = "" // Windows without the right to link: --data still finds the node
		}
	}
	return ln, func() {
		ln.Close()
		os.Remove(path)
		if link != "" {
			os.Remove(link)
		}
	}, nil
}

// privateDir makes a folder that only this user can enter, or refuses one that others can.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("runtime folder: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("runtime folder: %w", err)
	}
	if !info.IsDir() || !ownedByUs(info) {
		return fmt.Errorf("runtime folder %s belongs to somebody else: set XDG_RUNTIME_DIR to one of your own", dir)
	}
	return nil
}
