// Package lab builds little internets of network namespaces and runs the real program in them, one process a host:
// for tests that need real sockets, real processes and real faults, and for the programs below testdata that measure
// what happens then. Links are cut at the router between the hosts, in one direction or in both.
//
// It is not part of the program and does nothing but on Linux, as root, with iproute2.
//
// It promises to leave nothing behind: every process that it starts ends with the one that started it, and every
// namespace and mount goes with the test, or at the next start where that was killed.
package lab
