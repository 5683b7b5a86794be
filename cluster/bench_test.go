package cluster

import (
	"fmt"
	"testing"
	"time"
)

// largeHead is a head with so many members beside itself, all just heard, and their ids.
func largeHead(b *testing.B, members int) (*Machine, []ID) {
	b.Helper()
	table := newTable(b, TableState{})
	admit := func(name string) (ID, *Answer) {
		id := testID(name)
		a, _, err := table.Register(startMs, id, &Request{Version: Version, Self: Peer{id, nil}}, "wuhan", "", ClassOwn)
		if err != nil {
			b.Fatal(err)
		}
		return id, a
	}
	self, a := admit("a")
	m, err := New(Config{Network: networkPublic(), City: "wuhan"}, Row{ID: self, Boot: 1, Admission: a.Admission}, HardState{}, SignerOf(testKey("a")), nil)
	if err != nil {
		b.Fatal(err)
	}
	m.Step(0, Answered{Kind: CallRegister, Answer: a})
	m.Tick(Instant(time.Second))
	if !m.leading() {
		b.Fatal("it does not lead")
	}
	ids := make([]ID, members)
	for i := range ids {
		id, r := admit(fmt.Sprint("m", i))
		ids[i] = id
		row := Row{ID: id, Addrs: [][]byte{make([]byte, 8), make([]byte, 20)}, Boot: 1, Admission: r.Admission}
		hb := &Heartbeat{Term: m.high.term, Boot: 1, Seq: 1, Row: &row}
		if _, err := m.Step(Instant(time.Second), Received{From: id, Message: &Message{Heartbeat: hb}}); err != nil {
			b.Fatal(err)
		}
	}
	return m, ids
}

// BenchmarkHead is one second in the life of a head: a heartbeat of each member, of which every tenth carries its
// row, and the ticks that are due. Half a core means that an operation may take 500 ms.
func BenchmarkHead(b *testing.B) {
	for _, members := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			m, ids := largeHead(b, members)
			seq, sent := uint64(1), 0
			for b.Loop() {
				seq++
				for i, id := range ids {
					now := Instant(seq)*Instant(time.Second) + Instant(i)*Instant(time.Second)/Instant(members)
					hb := &Heartbeat{Term: m.high.term, Boot: 1, Seq: seq}
					if (seq+uint64(i))%10 == 0 {
						row := m.table.rows[id].row
						hb.Row = &row
					}
					out, err := m.Step(now, Received{From: id, Message: &Message{Heartbeat: hb}})
					if err != nil {
						b.Fatal(err)
					}
					m.Status()
					sent += len(out.Out)
				}
			}
			if m.table.alive != members+1 || m.unsure() {
				b.Fatalf("%d members, unsure %v", m.table.alive, m.unsure())
			}
			b.ReportMetric(float64(sent)/float64(b.N), "messages/op")
		})
	}
}

// BenchmarkTick is what a head does at each beacon, with nothing else going on.
func BenchmarkTick(b *testing.B) {
	m, ids := largeHead(b, 10000)
	now, seq := m.clock.now, uint64(1)
	for b.Loop() {
		seq++
		at, _ := m.Deadline()
		now = max(now, at)
		m.Tick(now)
		for _, id := range ids {
			m.table.hear(m.table.rows[id], now)
		}
	}
}
