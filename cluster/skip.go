package cluster

// rule is a rule of the election that the tests of this package switch off, one at a time, to see that the
// simulator notices. Nothing outside of those tests can.
type rule uint

const (
	ruleFencing    rule = 1 << iota // whoever knows a higher term refuses a lower one
	ruleProbe                       // R3: probe before claim
	rulePauseGuard                  // R6
	ruleCopyFirst                   // R9: replicate before acknowledging at level 2
	ruleNewTerm                     // R5: a restart is a new term
)

// skipped is empty but in those tests.
var skipped rule

func skips(r rule) bool { return skipped&r != 0 }
