//go:build !linux

package probe

import "net"

// wantTTL does nothing: results say that the TTL is not known.
func wantTTL(*net.UDPConn, bool) error { return nil }

func ttlOf([]byte) int { return 0 }
