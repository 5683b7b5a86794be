package cmd

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/node"
)

// headStatus is the status of a head with somebody in line, or with nobody.
func headStatus(heirs bool) node.Status {
	st := sampleStatus()
	st.Node, st.Role, st.Head = idB, "head", idB
	st.Succession = sampleSuccession()
	st.Succession[0].Self = true
	if !heirs {
		st.Succession = st.Succession[:1]
	}
	return st
}

func TestDrain(t *testing.T) {
	following := sampleStatus()
	for _, tc := range []struct {
		name, args string
		before     node.Status
		after      node.Status // as soon as it is drained
		code       int
		says       string
	}{
		{"a member", "drain", following, following, exitOK, "drained: this node does not lead; the head of changsha is " + idB},
		{"a head hands over", "drain", headStatus(true), following, exitOK, "drained: this node does not lead"},
		{"a head without heirs", "drain", headStatus(false), headStatus(false), exitNothing, "leads changsha on: no other candidate lives"},
		{"a head is not waited for", "drain --wait 0", headStatus(true), headStatus(true), exitOK, "draining: this node leads changsha until"},
		{"a head does not hand over in time", "drain --wait 300ms", headStatus(true), headStatus(true), exitNothing, "still leads changsha after 300ms"},
		{"undone", "drain --undo", following, following, exitOK, "this node may lead again"},
		{"no time at all", "drain --wait -1s", following, following, exitUsage, "--wait is -1s"},
		{"both", "drain --undo --wait 1s", following, following, exitUsage, "undo wait"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRunner(t)
			r.node.status = tc.before
			r.node.drained = func() { r.node.status = tc.after }
			code := r.run(t, strings.Fields(tc.args)...)
			if all := r.out.String() + r.err.String(); code != tc.code || !strings.Contains(all, tc.says) {
				t.Errorf("exit code %d, want %d; said %q, want %q", code, tc.code, all, tc.says)
			}
			want := []bool{!strings.Contains(tc.args, "undo")}
			if tc.code == exitUsage {
				want = nil
			}
			if !slices.Equal(r.node.drains, want) {
				t.Errorf("drained %v, want %v", r.node.drains, want)
			}
		})
	}
}

// The command waits while the head hands over, and says so on stderr; Ctrl-C ends the waiting only.
func TestDrainWaits(t *testing.T) {
	r := newRunner(t)
	r.node.status = headStatus(true)
	asked := 0
	r.node.asks = func() {
		if asked++; asked == 3 {
			r.node.status = sampleStatus()
		}
	}
	if code := r.run(t, "drain"); code != exitOK || asked != 3 || !strings.Contains(r.err.String(), "waiting up to 1m30s") {
		t.Errorf("exit code %d after %d questions, said %q", code, asked, &r.err)
	}
	r.node.status, asked = headStatus(true), 0
	r.node.asks = func() {
		if asked++; asked == 3 {
			r.node.cancel()
		}
	}
	if code := r.run(t, "drain"); code != exitNothing || !strings.Contains(r.err.String(), "the node stays drained") || len(r.node.drains) != 2 {
		t.Errorf("exit code %d, said %q", code, &r.err)
	}
	r.node.drainErr = errors.New("the node is stopping")
	if code := r.run(t, "drain"); code != exitUsage || !strings.Contains(r.err.String(), "drain: the node is stopping") {
		t.Errorf("exit code %d, said %q", code, &r.err)
	}
}

func TestOrdinals(t *testing.T) {
	for n, want := range map[int]string{1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 8: "8th", 11: "11th", 12: "12th", 13: "13th", 21: "21st", 112: "112th"} {
		if got := ordinal(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
