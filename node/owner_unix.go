//go:build unix

package node

import (
	"io/fs"
	"os"
	"syscall"
)

// ownedByUs says whether a file belongs to this user and nobody else may write to it.
func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid() && info.Mode().Perm()&0o022 == 0
}
