// Package probe measures the path between two hosts: the wire formats, the
// sender and the responder of each tool, and the figures made of what they saw.
//
// It is not for finding a host, for deciding who may measure whom, or for
// keeping results: it knows no roles, no libp2p and no database. A caller
// brings an agreed session (id, key, granted parameters) and a socket.
//
// What it promises:
//
//   - Delays are float64 milliseconds, rates integer bit/s, loss percent 0-100.
//     What was not measured is nil (JSON null), never 0.
//   - Stamps are taken at the socket and travel as data. Every figure is a pure
//     function of a list of stamped packets (Analyse), tested without a socket.
//   - A responder answers nobody who does not hold the session key, nobody who
//     has not shown that he receives at his address, and never with more bytes
//     than it was sent.
//   - One-way delays are given only when both clocks are synchronised and their
//     error bounds are known (ClockVerdict).
//   - A run that is cut short gives what it measured so far, and says so.
package probe
