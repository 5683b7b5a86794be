package registry

import (
	"fmt"
	"sync"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
)

const (
	// membersPerHead is for how many members one head is enough: beyond it
	// another one is suggested.
	membersPerHead = 5000
	// suggestEvery is how often a city is counted, and said to be large.
	suggestEvery = 10 * time.Minute
)

// advised is when cities were last counted.
type advised struct {
	mu sync.Mutex
	at map[cluster.City]time.Time
}

// due is true once every suggestEvery.
func (a *advised) due(city cluster.City, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, ok := a.at[city]; ok && now.Sub(last) < suggestEvery {
		return false
	}
	if a.at == nil {
		a.at = make(map[cluster.City]time.Time)
	}
	a.at[city] = now
	return true
}

// suggest says so in the log where the city of a head that has reported is
// large for its number of heads.
func (s *server) suggest(head cluster.ID) {
	m, ok := s.roster.node(head)
	if !ok || !s.advised.due(m.city, time.Now()) {
		return
	}
	has := int(max(s.heads[m.city], 1))
	members := s.roster.members(m.city)
	if want := headsFor(members); want > has {
		s.log.Warn("a city is large for its number of heads: start the registry with more of them", "city", m.city,
			"members", members, "heads", has, "suggested", fmt.Sprintf("--heads %s=%d", m.city, want))
	}
}

// headsFor is how many heads are suggested for so many members.
func headsFor(members int) int {
	return min(max(1, (members+membersPerHead-1)/membersPerHead), cluster.MaxHeads)
}

// doubtHeads warns of cities in --heads that no table knows: they would never have a node.
func (s *server) doubtHeads() {
	for city := range s.heads {
		if name := string(city); !locate.IsUnknown(name) && !s.places.now.Load().locator.Knows(name) {
			s.log.Warn("no table knows a city that --heads names"+locate.DidYouMean(name), "city", city)
		}
	}
}
