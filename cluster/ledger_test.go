package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestR9Levels: on the head, on the backup too, in the registry; and then nobody keeps it ready.
func TestR9Levels(t *testing.T) {
	n := newNetwork(t, 901)
	all := n.city("changsha", 5)
	head := n.leader(all...)
	owner := n.inOrder(head)[3]
	n.dropMove = func(_ ID, t *Transfer) bool { return t.Kind == TransferCopy }
	keys := n.measure(owner, 3)
	n.untilLevel(time.Second, keys, levelHead)
	n.run(3 * time.Second)
	if at := n.levels(keys); at[levelHead] != 3 {
		t.Fatalf("levels %v without a copy", at)
	}
	n.dropMove = func(ID, *Transfer) bool { return false }
	n.untilLevel(5*time.Second, keys, levelBackup)
	backup := n.hosts[head.m.backup()]
	if len(backup.disk.held) != 3 || owner.m.Status().Ledger.Level2 != 3 || head.m.Status().Ledger.Copied != 3 || backup.m.Status().Ledger.Copies != 3 {
		t.Errorf("backup has %d, %+v %+v %+v", len(backup.disk.held), owner.m.Status().Ledger, head.m.Status().Ledger, backup.m.Status().Ledger)
	}
	n.upload()
	n.untilLevel(time.Second, keys, levelRegistry)
	n.run(time.Second)
	for _, h := range all {
		if l := h.m.Status().Ledger; l.Spooled+l.Held+l.Copies+l.Level1+l.Level2+l.Copied != 0 || len(h.m.ledger.rows)+len(h.m.ledger.owners) != 0 {
			t.Errorf("%s still has %+v, %d rows", h.name, l, len(h.m.ledger.rows))
		}
	}
	if len(head.disk.kept) != 3 || len(backup.disk.kept) != 3 {
		t.Errorf("kept for the registry's sake: %d at the head, %d at the backup, want 3", len(head.disk.kept), len(backup.disk.kept))
	}
	n.sound()
}

// TestR9Pace: without faults level 2 takes a few round trips, and a batch is one message a hop.
func TestR9Pace(t *testing.T) {
	n := newNetwork(t, 902)
	all := n.city("changsha", 5)
	owner := n.inOrder(n.leader(all...))[4]
	keys := n.measure(owner, 300)
	if took := n.untilLevel(time.Second, keys, levelBackup); took > 20*time.Millisecond {
		t.Errorf("level 2 after %v", took)
	}
	n.upload()
	n.untilLevel(time.Second, keys, levelRegistry)
	if n.count["move submit"] != 300 || n.count["move copy"] != 300 || n.count["resack"] != 3 || n.count["offer"] != 0 {
		t.Errorf("sent %v", n.count)
	}
	keys = n.measure(owner, 3*maxKeys+1) // one transfer at a time
	n.untilLevel(time.Second, keys, levelBackup)
	n.sound()
}

// TestR9HeadDies right after level 2, and the owner with it: the backup has the results, delivers them, and copies them
// to its own backup.
func TestR9HeadDies(t *testing.T) {
	n := newNetwork(t, 903)
	all := n.city("changsha", 5)
	head := n.leader(all...)
	line := n.inOrder(head)
	owner := line[4]
	n.away = true
	keys := n.measure(owner, 5)
	n.untilLevel(time.Second, keys, levelBackup)
	n.kill(head, true)
	n.kill(owner, false)
	n.until(5*time.Second, func() bool { return line[1].m.leading() })
	n.until(10*time.Second, func() bool { return len(line[2].disk.held) == 5 })
	if len(line[2].disk.held) != 5 {
		t.Errorf("the new head's backup has %d of 5: %s", len(line[2].disk.held), n.describe())
	}
	n.away = false
	n.upload()
	for _, k := range keys {
		if n.results.registry[k] != 1 {
			t.Errorf("%s came %d times", describeKey(n, k), n.results.registry[k])
		}
	}
	// The owner comes back, asks, and is told; so is the old head.
	n.boot(owner)
	n.boot(head)
	n.untilLevel(10*time.Second, keys, levelRegistry)
	n.live(40 * time.Second)
	if len(owner.disk.spool)+len(head.disk.held) != 0 {
		t.Errorf("spool %d, the old head holds %d", len(owner.disk.spool), len(head.disk.held))
	}
	n.sound()
}

// TestR9FormerHeadOffers: a head that was deposed with results which nobody else has hands them to the new one.
func TestR9FormerHeadOffers(t *testing.T) {
	n := newNetwork(t, 904)
	all := n.city("changsha", 5)
	head := n.leader(all...)
	owner := n.inOrder(head)[4]
	n.away = true
	n.dropMove = func(_ ID, t *Transfer) bool { return t.Kind == TransferCopy }
	keys := n.measure(owner, 5)
	n.untilLevel(time.Second, keys, levelHead)
	n.kill(head, true)
	n.kill(owner, false) // its spool does not help
	n.until(5*time.Second, func() bool { return n.leader(all...) != nil })
	n.dropMove = func(ID, *Transfer) bool { return false }
	n.boot(head)
	second, _ := n.settled(15*time.Second, all...)
	n.until(5*time.Second, func() bool { return len(second.disk.held) == 5 })
	if second == head || len(second.disk.held) != 5 || n.count["move offer"] != 5 {
		t.Errorf("the new head holds %d; sent %v; %s", len(second.disk.held), n.count, n.describe())
	}
	if at := second.m.Status().Ledger; at.Held != 5 {
		t.Errorf("figures %+v", at)
	}
	n.sound()
}

// TestR9Partition: two heads take results; after the heal the lower one offers its log, and all is delivered.
func TestR9Partition(t *testing.T) {
	n := newNetwork(t, 905)
	all := n.city("changsha", 6)
	head := n.leader(all...)
	line := n.inOrder(head)
	with := func(id ID) bool { return id == line[0].id || id == line[4].id || id == line[5].id }
	n.away = true
	n.cut = func(a, b ID) bool { return with(a) != with(b) }
	n.until(10*time.Second, func() bool { return line[1].m.leading() })
	n.run(12 * time.Second) // both have evicted the others
	left, right := n.measure(line[5], 4), n.measure(line[3], 4)
	n.untilLevel(5*time.Second, left, levelBackup)
	n.untilLevel(5*time.Second, right, levelBackup)
	n.cut = func(_, _ ID) bool { return false }
	one, _ := n.settled(15*time.Second, all...)
	n.until(10*time.Second, func() bool { return len(one.disk.held) == 8 })
	if len(one.disk.held) != 8 {
		t.Fatalf("the head of the whole city holds %d of 8", len(one.disk.held))
	}
	n.away = false
	n.live(2 * time.Second)
	n.untilLevel(time.Second, slices.Concat(left, right), levelRegistry)
	n.live(60 * time.Second)
	for _, h := range all {
		if len(h.disk.held)+len(h.m.ledger.rows) != 0 {
			t.Errorf("%s still holds %d", h.name, len(h.disk.held))
		}
	}
	n.sound()
}

// TestR9SwapOfHeadAndBackup: what the one had as head the other has as backup; nothing travels twice but its name.
func TestR9SwapOfHeadAndBackup(t *testing.T) {
	n := newNetwork(t, 906)
	all := n.city("changsha", 2)
	head, other := n.leader(all...), all[1]
	if head == other {
		other = all[0]
	}
	n.away = true
	keys := slices.Concat(n.measure(head, 2), n.measure(other, 2))
	n.untilLevel(time.Second, keys, levelBackup)
	n.run(time.Second)
	moved := n.count["move copy"]
	n.kill(head, true)
	n.boot(head)
	n.until(5*time.Second, func() bool { return other.m.leading() })
	n.until(10*time.Second, func() bool { return other.m.Status().Ledger.Copied == 4 })
	if st := other.m.Status().Ledger; st.Copied != 4 || n.count["move offer"] != 0 {
		t.Errorf("figures %+v; sent %v, copies before %d", st, n.count, moved)
	}
	n.away = false
	n.live(3 * time.Second)
	n.untilLevel(time.Second, keys, levelRegistry)
	n.sound()
}

// TestR9LostMessages: transfers, acknowledgements, offers and trims are lost, doubled and reordered.
func TestR9LostMessages(t *testing.T) {
	n := newNetwork(t, 907)
	all := n.city("changsha", 5)
	n.drop, n.double, n.jitter = 0.2, 0.1, 20*time.Millisecond
	var keys []ResultKey
	for range 20 {
		for _, h := range all {
			keys = append(keys, n.measure(h, 1+n.rng.IntN(5))...)
		}
		n.live(500 * time.Millisecond)
	}
	n.drop, n.double, n.jitter = 0, 0, 0
	n.live(3 * time.Minute)
	if at := n.levels(keys); at[levelRegistry] != len(keys) {
		t.Errorf("levels %v of %d", at, len(keys))
	}
	for _, h := range all {
		if len(h.disk.spool)+len(h.disk.held)+len(h.m.ledger.rows) != 0 {
			t.Errorf("%s has %d in its spool, holds %d, rows %d", h.name, len(h.disk.spool), len(h.disk.held), len(h.m.ledger.rows))
		}
	}
	n.sound()
}

// TestR9WithinFiveSeconds is L5 below 5 % loss: acknowledged by head and backup.
func TestR9WithinFiveSeconds(t *testing.T) {
	n := newNetwork(t, 908)
	all := n.city("changsha", 8)
	n.drop, n.jitter = 0.05, 20*time.Millisecond
	n.away = true
	late, count := 0, 0
	for range 60 {
		h := all[n.rng.IntN(len(all))]
		keys := n.measure(h, 5)
		n.run(5 * time.Second)
		at := n.levels(keys)
		count += len(keys)
		late += len(keys) - at[levelBackup]
	}
	if 100*late > count {
		t.Errorf("%d of %d results were not at level 2 after 5 s", late, count)
	}
	n.sound()
}

// TestR9FullTable: a head that can take no more does not acknowledge, and takes more when there is room.
func TestR9FullTable(t *testing.T) {
	n := newNetwork(t, 909)
	all := n.city("changsha", 3)
	head := n.leader(all...)
	owner := n.inOrder(head)[2]
	for _, h := range all {
		h.m.env.cfg.MaxHeld = 10
	}
	n.away = true
	first := n.measure(owner, 10)
	n.untilLevel(time.Second, first, levelBackup)
	n.refuse = func(h *host, keys []ResultKey) bool { return len(h.disk.held)+len(keys) > 10 } // the caller's table
	second := n.measure(owner, 5)
	n.run(20 * time.Second)
	if at := n.levels(second); at[0] != 5 || head.m.Status().Ledger.Refused == 0 || n.count["move submit"] > 10+5*2 {
		t.Errorf("levels %v, %+v, sent %v", at, head.m.Status().Ledger, n.count)
	}
	n.away = false
	n.live(70 * time.Second)
	n.untilLevel(time.Second, slices.Concat(first, second), levelRegistry)
	// The machine itself says no where its caller does not.
	n.away, n.refuse = true, func(*host, []ResultKey) bool { return false }
	third := n.measure(owner, 12)
	n.run(5 * time.Second)
	if at := n.levels(third); at[0] != 2 || at[levelBackup] != 10 {
		t.Errorf("levels %v above the bound", at)
	}
	n.sound()
}

// TestR9CityOfOne: level 2 never, level 3 as soon as the registry has it; in a city of two level 2 as well.
func TestR9CityOfOne(t *testing.T) {
	n := newNetwork(t, 910)
	all := n.city("changsha", 1)
	keys := n.measure(all[0], 3)
	n.run(time.Minute)
	if at := n.levels(keys); at[levelHead] != 3 {
		t.Errorf("levels %v", at)
	}
	if n.sent > 200 {
		t.Errorf("a city of one sent %d messages in a minute", n.sent)
	}
	second := n.join("changsha-1", "changsha") // the copy is made once there is a backup
	n.untilLevel(5*time.Second, keys, levelBackup)
	n.upload()
	n.untilLevel(time.Second, keys, levelRegistry)
	keys = n.measure(second, 2)
	n.untilLevel(time.Second, keys, levelBackup)
	n.sound()
}

// TestR9LostDisk: one disk is lost, whichever: what was at level 2 gets to the registry without the owner.
func TestR9LostDisk(t *testing.T) {
	for lost := range 3 {
		n := newNetwork(t, 911+uint64(lost))
		all := n.city("changsha", 4)
		line := n.inOrder(n.leader(all...))
		owner := line[3]
		n.away = true
		keys := n.measure(owner, 6)
		n.untilLevel(time.Second, keys, levelBackup)
		n.kill(owner, false)
		if lost < 2 {
			n.loseDisk(line[lost])
		} else {
			n.results.lost++
			owner.disk = disk{next: 6}
		}
		n.run(20 * time.Second)
		n.away = false
		n.live(5 * time.Second)
		for _, k := range keys {
			if n.results.registry[k] == 0 {
				t.Errorf("disk %d: %s is lost", lost, describeKey(n, k))
			}
		}
		n.sound()
	}
}

// TestR9UnsureAcknowledgesNothing: a head that was paused takes results, but says so only when it is sure again.
func TestR9UnsureAcknowledgesNothing(t *testing.T) {
	n := newNetwork(t, 914)
	all := n.city("changsha", 2)
	head := n.leader(all...)
	owner := n.inOrder(head)[1]
	n.away = true
	first := n.measure(owner, 1)
	n.untilLevel(time.Second, first, levelBackup)
	n.run(300 * time.Millisecond)
	head.frozen = true
	n.run(1200 * time.Millisecond) // below Suspect
	keys := n.measure(owner, 2)
	head.frozen = false
	n.until(time.Second, func() bool { return head.m.unsure() })
	if !head.m.unsure() {
		t.Fatal("the head noticed no pause")
	}
	n.until(2*time.Second, func() bool { return !head.m.unsure() || n.acked[keys[0]] > 0 })
	if at := n.levels(keys); at[0] != 2 || len(head.disk.held) != 3 {
		t.Errorf("levels %v, the head holds %d", at, len(head.disk.held))
	}
	if took := n.untilLevel(time.Second, keys, levelBackup); took > 50*time.Millisecond {
		t.Errorf("it said so %v after it was sure", took)
	}
	n.sound()
}

// TestR9OldTermIsRefused (S4): what a deposed head sends has no effect, and it is told who leads.
func TestR9OldTermIsRefused(t *testing.T) {
	n := newNetwork(t, 915)
	all := n.city("changsha", 3)
	head := n.leader(all...)
	line := n.inOrder(head)
	old, k := head.m.high.term, ResultKey{line[2].id, 1, 1}
	keys := []ResultKey{k}
	n.away = true
	mine := n.measure(line[2], 1)
	n.untilLevel(time.Second, mine, levelBackup)
	n.kill(head, true)
	n.settled(15*time.Second, all...)
	for name, msg := range map[string]*Message{
		"resack": {ResAck: &ResAck{old, levelRegistry, mine}}, "trim": {Trim: &Trim{old, mine}}, "want": {Want: &Want{old, mine}},
		"offer": {Offer: &Offer{Term: old, Keys: keys}}, "replack": {ReplAck: &ReplAck{Term: old, Results: mine}},
	} {
		for _, h := range line[1:] {
			before := fmt.Sprint(h.m.Status().Ledger)
			h.m.limit.seen = map[ID]allowance{}
			out, err := h.m.Step(n.now, Received{From: head.id, Message: msg})
			if err != nil || fmt.Sprint(h.m.Status().Ledger) != before || len(out.Moves)+len(out.Events) != 0 {
				t.Errorf("%s took a %s of an old term: %v %+v", h.name, name, err, out)
			}
			if len(out.Out) != 1 || out.Out[0].Message.Stale == nil {
				t.Errorf("%s answers a %s of an old term with %+v", h.name, name, out.Out)
			}
		}
	}
	// A copy that became durable after the term had passed is kept, not acknowledged.
	line[2].m.limit.seen = map[ID]allowance{}
	out, _ := line[2].m.Step(n.now, Stored{From: head.id, Term: old, Keys: keys})
	if !slices.ContainsFunc(out.Out, func(e Envelope) bool { return e.To == head.id && e.Message.Stale != nil }) {
		t.Error("the old head does not hear who leads")
	}
	for _, e := range out.Out {
		if e.Message.ReplAck != nil {
			t.Error("a copy of an old term was acknowledged")
		}
	}
	if line[2].m.Status().Ledger.Copies == 0 {
		t.Error("the copy was forgotten")
	}
}

// TestR9OnlyTheHeadCounts: nobody else can make an owner believe, or a holder forget.
func TestR9OnlyTheHeadCounts(t *testing.T) {
	n := newNetwork(t, 916)
	all := n.city("changsha", 4)
	head := n.leader(all...)
	line := n.inOrder(head)
	owner, liar, term := line[3], line[2], head.m.high.term
	n.away = true
	n.dropMove = func(_ ID, t *Transfer) bool { return t.Kind == TransferCopy }
	keys := n.measure(owner, 1)
	n.untilLevel(time.Second, keys, levelHead)
	for _, msg := range []*Message{{ResAck: &ResAck{term, 3, keys}}, {Trim: &Trim{term, keys}}, {Want: &Want{term, keys}}} {
		for _, h := range []*host{owner, line[1], head} {
			before := fmt.Sprint(h.m.Status().Ledger, len(h.m.ledger.rows))
			if n.step(h, Received{From: liar.id, Message: msg}); before != fmt.Sprint(h.m.Status().Ledger, len(h.m.ledger.rows)) {
				t.Errorf("%s believed %s of a candidate", h.name, msg.Kind())
			}
		}
	}
	n.step(head, Received{From: liar.id, Message: &Message{ReplAck: &ReplAck{Term: term, Results: keys}}})
	if head.m.Status().Ledger.Copied != 0 {
		t.Error("a copy that is not on the backup is level 2")
	}
}

// TestR9Spool: what the spool dropped is not asked for, and counted; what was refused comes back when it is submitted again.
func TestR9Spool(t *testing.T) {
	n := newNetwork(t, 917)
	all := n.city("changsha", 2)
	head := n.leader(all...)
	owner := n.inOrder(head)[1]
	n.dropMove = func(ID, *Transfer) bool { return true }
	keys := n.measure(owner, 5)
	n.run(time.Second)
	for _, k := range keys[:2] {
		delete(owner.disk.spool, k)
	}
	n.step(owner, Withdrawn{Keys: keys[:2]})
	if l := owner.m.Status().Ledger; l.Dropped != 2 || l.Spooled != 3 {
		t.Errorf("%+v", l)
	}
	n.dropMove = func(ID, *Transfer) bool { return false }
	n.untilLevel(10*time.Second, keys[2:], levelBackup)
	if n.acked[keys[0]] != 0 {
		t.Error("a withdrawn result was delivered")
	}
	owner.disk.spool[keys[0]] = true
	n.step(owner, Submitted{Keys: keys[:1]})
	n.untilLevel(10*time.Second, keys[:1], levelBackup)
	if err := n.step(owner, Submitted{Keys: []ResultKey{{head.id, 1, 99}}}); err != nil || owner.m.ownResults() != 4 {
		t.Errorf("another's result in the own spool: %v, %d", err, owner.m.ownResults())
	}
}
