package store

import (
	"hash/maphash"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// cacheEntryOverhead is what an entry costs beside its key and value: map slot, list element,
	// slice and string headers (measured: 150 to 200 bytes).
	cacheEntryOverhead = 200
	// cacheEntries bounds the count; bytes run out long before.
	cacheEntries = 1 << 20
	// cacheStripes spread the write marks: two keys of one stripe only cost a fill.
	cacheStripes = 256
)

// CacheStats counts since Open.
type CacheStats struct {
	Hits, Misses, Evictions uint64
	Entries                 int
	Bytes, LimitBytes       int
}

// cache holds encoded records: the bound is exact, and nobody shares memory with a caller.
//
// A read that misses takes a mark, loads from the table, and fills only if nothing was written to the
// key's stripe since the mark and nothing is being written: so an old value never overwrites a newer
// one. Writes are shown by the writer just before their commit and settled after it, in its order.
type cache struct {
	mu      sync.Mutex
	lru     *simplelru.LRU[string, []byte]
	seed    maphash.Seed
	stripes [cacheStripes]stripe
	stats   CacheStats
}

type stripe struct {
	writes  uint64 // shown or settled
	pending int    // shown and not settled
}

func newCache(limitBytes int) *cache {
	c := &cache{seed: maphash.MakeSeed()}
	c.stats.LimitBytes = limitBytes
	c.lru, _ = simplelru.NewLRU(cacheEntries, func(k string, v []byte) { // error: size below 1 only
		c.stats.Bytes -= cost(k, v)
	})
	return c
}

func cost(k string, v []byte) int { return len(k) + len(v) + cacheEntryOverhead }

func (c *cache) stripe(k string) *stripe {
	return &c.stripes[maphash.String(c.seed, k)%cacheStripes]
}

// get returns the value, which must not be changed, or a mark for fill.
func (c *cache) get(k string) (v []byte, mark uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok = c.lru.Get(k); ok {
		c.stats.Hits++
		return v, 0, true
	}
	c.stats.Misses++
	return nil, c.stripe(k).writes, false
}

// fill keeps what a read loaded, unless a write came in between.
func (c *cache) fill(k string, v []byte, mark uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.stripe(k); s.writes == mark && s.pending == 0 {
		c.put(k, v)
	}
}

// show puts a value that is about to be written.
func (c *cache) show(k string, v []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stripe(k)
	s.writes++
	s.pending++
	c.put(k, v)
}

// settle ends what show began; what did not become the table's value is forgotten.
func (c *cache) settle(k string, stored bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stripe(k)
	s.writes++
	s.pending--
	if !stored {
		c.lru.Remove(k)
	}
}

func (c *cache) put(k string, v []byte) {
	c.lru.Remove(k)
	n := cost(k, v)
	if n > c.stats.LimitBytes {
		return
	}
	for c.stats.Bytes+n > c.stats.LimitBytes {
		if _, _, ok := c.lru.RemoveOldest(); !ok {
			break
		}
		c.stats.Evictions++
	}
	c.lru.Add(k, v)
	c.stats.Bytes += n
}

func (c *cache) snapshot() CacheStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Entries = c.lru.Len()
	return s
}

// drop forgets a key that was deleted from its table.
func (c *cache) drop(k string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stripe(k).writes++
	c.lru.Remove(k)
}
