// Package cluster is the pure core: ids, signed objects, certificates, terms, the election machine, the
// member table, the registry's table and tickets. It reads no clock, starts no goroutine and opens no socket.
package cluster
