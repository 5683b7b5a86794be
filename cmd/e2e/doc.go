// Package e2e holds the measurement paper's experiment as a test: separate processes of the real program in
// network namespaces with the paper's own addresses (Zhao & Li 2016, Table 1), joined through a router.
//
// It is not part of the program and exports nothing; it needs Linux, root and iproute2. Under plain `go test`
// it is skipped, with the reason, where one of them is missing; `make test` (PEERPROBE_TEST_ALL=1) fails instead.
//
// It promises to leave nothing behind: every process that it starts ends with it, and every namespace goes.
package e2e
