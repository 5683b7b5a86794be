//go:build linux || darwin

package node

import "golang.org/x/sys/unix"

// freeBytes is how much an ordinary user may still write to the disk of a directory.
func freeBytes(dir string) (uint64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return st.Bavail * uint64(st.Bsize), true
}
