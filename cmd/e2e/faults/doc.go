// Package faults holds the faults that a cluster has to live through, as tests: separate processes of the real program
// in network namespaces are killed, frozen, cut off from one another, robbed of their disks and restarted while they
// measure, and what they logged is judged afterwards (package trail).
//
// It is not part of the program and exports nothing; it needs Linux, root and iproute2. Under plain `go test` it is
// skipped, with the reason, where one of them is missing; `make test` (PEERPROBE_TEST_ALL=1) fails instead.
//
// It promises that time limits are limits of patience: how fast a take-over is, `make faults` says.
package faults
