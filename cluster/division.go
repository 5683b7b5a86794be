package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// How many shards a city has: as many as the operator wants, where each of them would have a head and a backup. More
// of them at once, fewer after a long time only: a head that the registry has not heard for a while may well lead.
const (
	// livingForMore: whom a head of ten thousand members reports comes round in 200 s (maxLiving every 10 s).
	livingForMore = 5 * time.Minute
	livingForLess = time.Hour
	// weighEvery bounds the work where there are more nodes than weighFreely: they are gone through one by one.
	weighEvery  = time.Second
	weighFreely = 1000
)

// SetHeads sets how many heads a city should have. Where it has them at once depends on how many nodes live there.
func (t *Table) SetHeads(nowMs int64, city City, n uint) (Changes, error) {
	if err := checkHeads(city, n); err != nil {
		return Changes{}, err
	}
	t.cfg.Heads = maps.Clone(t.cfg.Heads)
	if t.cfg.Heads == nil {
		t.cfg.Heads = make(map[City]uint)
	}
	t.cfg.Heads[city] = n
	c := t.begin(nowMs, "")
	if rec := t.cities[city]; rec != nil && rec.cert.cert != nil {
		rec.weighed = 0
		c.renew(rec, rec.cert.cert.Successions)
	}
	return c.changes(), nil
}

// HeadsOf is how many heads a city should have, and how many it has.
func (t *Table) HeadsOf(city City) (want, have uint) {
	want = max(t.cfg.Heads[city], 1)
	if rec := t.cities[city]; rec != nil && rec.cert.cert != nil {
		have = uint(len(rec.cert.cert.Successions))
	}
	return want, have
}

// renew issues a new certificate where the present one is not as it should be: other names, another number of shards,
// other timers. lists are the successions as they should be, as long as the number of shards stays.
func (c *change) renew(rec *cityRecord, lists [][]ID) {
	old := rec.cert.cert
	n := c.weigh(rec)
	if n != len(old.Successions) {
		lists = c.divide(rec, lists, n)
		if slices.ContainsFunc(lists, func(l []ID) bool { return len(l) == 0 }) {
			return // everybody who may lead is barred or has moved
		}
	}
	same := slices.EqualFunc(lists, old.Successions, slices.Equal[[]ID])
	if !same || old.Timers != c.t.cfg.Timers {
		c.issue(rec.state.City, lists)
	}
}

// weigh is how many shards a city should have now.
func (c *change) weigh(rec *cityRecord) int {
	want, _ := c.t.HeadsOf(rec.state.City)
	have := len(rec.cert.cert.Successions)
	since := c.nowMs - rec.weighed
	if want == 1 && have == 1 || len(c.t.nodes) > weighFreely && since >= 0 && since < weighEvery.Milliseconds() {
		return have
	}
	rec.weighed = c.nowMs
	more := c.t.viable(rec.state.City, want, c.nowMs-livingForMore.Milliseconds())
	if more > have {
		return more
	}
	if have > int(want) { // the operator wants fewer
		return max(more, 1)
	}
	if c.nowMs-c.t.began < livingForLess.Milliseconds() {
		return have // it has not watched for long enough to miss anybody
	}
	return min(have, c.t.viable(rec.state.City, want, c.nowMs-livingForLess.Milliseconds()))
}

// viable is the largest number of shards, up to want, of which each has two nodes that were seen since a time.
func (t *Table) viable(city City, want uint, since int64) int {
	counts := make([][]int, want) // of nodes: by number of shards, less one, then by shard
	for n := range counts {
		counts[n] = make([]int, n+1)
	}
	for id, node := range t.nodes {
		if node.City != city || node.Transient || t.barred.ids[id] || node.LastSeen < since {
			continue
		}
		_, of := bestShards(id, want)
		for n := range counts {
			counts[n][of[n]]++
		}
	}
	for n := len(counts); n > 1; n-- {
		if slices.Min(counts[n-1]) >= 2 {
			return n
		}
	}
	return 1
}

// divide makes successions for n shards: the heads first, then the living of the present lists in their order, the
// other living by age, the silent of the lists, and other silent nodes, those heard last first.
func (c *change) divide(rec *cityRecord, lists [][]ID, n int) [][]ID {
	var heads, listed, others, silent, gone []ID
	for _, shard := range slices.Sorted(maps.Keys(rec.leads)) {
		heads = append(heads, rec.leads[shard].lead.Head)
	}
	since := c.nowMs - livingForMore.Milliseconds()
	for place := range MaxSuccession {
		for _, list := range lists {
			if place >= len(list) {
				continue
			}
			if node := c.t.nodes[list[place]]; node != nil && node.LastSeen >= since {
				listed = append(listed, list[place])
			} else {
				silent = append(silent, list[place])
			}
		}
	}
	for id, node := range c.t.nodes {
		switch {
		case node.City != rec.state.City:
		case node.LastSeen >= since:
			others = append(others, id)
		default:
			gone = append(gone, id)
		}
	}
	slices.SortFunc(others, func(a, b ID) int {
		return cmp.Or(cmp.Compare(c.t.nodes[a].FirstSeen, c.t.nodes[b].FirstSeen), cmp.Compare(a, b))
	})
	slices.SortFunc(gone, func(a, b ID) int {
		return cmp.Or(cmp.Compare(c.t.nodes[b].LastSeen, c.t.nodes[a].LastSeen), cmp.Compare(a, b))
	})
	out := make([][]ID, n)
	for _, id := range slices.Concat(heads, listed, others, silent, gone) {
		shard := ShardOf(id, uint(n))
		if len(out[shard]) < Slots(n) && !slices.Contains(out[shard], id) && c.mayLead(id, rec.state.City) {
			out[shard] = append(out[shard], id)
		}
	}
	return out
}

// mayLead says that a node may be listed in a city. Of one that the table does not know, because it lost its disk, it
// did sign the name.
func (c *change) mayLead(id ID, city City) bool {
	n := c.t.nodes[id]
	return !c.t.barred.ids[id] && (n == nil || n.City == city && !n.Transient)
}

// describe says which shard of which city, for people: "wuhan", or "wuhan/1" where there are several.
func (r *cityRecord) describe(shard uint) string {
	if shard == 0 && len(r.cert.cert.Successions) == 1 {
		return string(r.state.City)
	}
	return fmt.Sprintf("%s/%d", r.state.City, shard)
}
