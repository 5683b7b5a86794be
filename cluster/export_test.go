package cluster

import "fmt"

// ruleNames are the rules that a mutation test may switch off.
var ruleNames = map[string]rule{
	"fencing": ruleFencing, "probe": ruleProbe, "pause-guard": rulePauseGuard, "copy-first": ruleCopyFirst, "new-term": ruleNewTerm,
}

// SkipRule switches one rule of the election off, for all machines, until restore is called. Not while machines run.
func SkipRule(name string) (restore func()) {
	r, ok := ruleNames[name]
	if !ok {
		panic(fmt.Sprintf("cluster: no rule is called %q", name))
	}
	before := skipped
	skipped |= r
	return func() { skipped = before }
}
