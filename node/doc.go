// Package node is a peer at run time: it joins a network, follows or leads its cluster, finds nodes by
// place, measures towards them and answers their measurements.
//
// It connects the pure core (package cluster) with libp2p (package p2p), the tools (package probe) and
// the tables (package store). One goroutine owns the election machine; everything else talks to it
// through an inbox. It holds no protocol rules of its own about who leads: those are in cluster.
//
// A Node promises: New starts nothing; Run joins every goroutine it started before it returns; nothing
// is sent before what it depends on is durable; a result is kept until the registry has acknowledged it;
// no datagram goes to an address that did not take part in the session's handshake.
package node
