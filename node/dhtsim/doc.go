// Package dhtsim holds the tests that tie the models of package overlay and the cost table of package scale to the
// program itself: real heads on loopback sockets, the real codec, the real election machine. It has nothing to
// import. The promise is that a figure of `peerprobe sim` which claims to be about this program is checked against
// it here, and that BenchmarkCosts measures every cost anew.
package dhtsim
