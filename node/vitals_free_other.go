//go:build !linux && !darwin

package node

// freeBytes is not known here: a full disk shows when a write fails.
func freeBytes(string) (uint64, bool) { return 0, false }
