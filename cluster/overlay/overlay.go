package overlay

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Node is a member of an overlay; its number is free again when it has left.
type Node int32

// None is no node.
const None Node = -1

// Why something cannot be done. Callers branch on these.
var (
	ErrEmpty    = errors.New("the overlay has no node")
	ErrLast     = errors.New("the last node cannot leave: nobody would own its keys")
	ErrShortKey = errors.New("the key is shorter than the ids of the nodes")
	ErrGone     = errors.New("no such node")
	ErrFull     = errors.New("ids have no bit left to tell another node apart")
	ErrGeometry = errors.New("unknown geometry")
	ErrConfig   = errors.New("bad parameters of an overlay")
)

// Overlay is one network under one geometry. It is not safe for concurrent use.
type Overlay interface {
	// Len is the number of nodes, dead ones included.
	Len() int
	// At is the i-th node, 0 <= i < Len, in an order of no meaning that joins and leaves change.
	At(i int) Node
	// Join adds a node at a random place.
	Join() (Node, error)
	// Leave takes a node out in order: its part goes to others and their tables are mended. ErrLast, ErrGone.
	Leave(Node) error
	// Kill makes a node deaf. Nobody notices and nothing is mended.
	Kill(Node)
	// Revive undoes Kill.
	Revive(Node)
	// Alive tells whether a node is there and was not killed.
	Alive(Node) bool
	// Owner is the node responsible for a key. ErrEmpty, ErrShortKey.
	Owner(Key) (Node, error)
	// Neighbours appends the nodes in the routing table of a node, each once, never itself. Under Kademlia this
	// draws the tables.
	Neighbours(Node, []Node) []Node
	// Degree is how many nodes the routing table of a node names, and with how many nodes it is linked at all,
	// whoever holds the entry (0 where that is not known).
	Degree(Node) (out, links int)
	// Share is the part of all keys that a node owns.
	Share(Node) float64
	// Route looks a key up from a node and describes the way in t, which is overwritten.
	Route(from Node, key Key, t *Trip) error
}

// Placed is an overlay whose nodes can be given their ids (rings and Kademlia), to model a network that exists.
type Placed interface {
	Overlay
	// JoinAs adds a node with this id; ErrFull if there is one already.
	JoinAs(id uint64) (Node, error)
}

// Trip is one lookup.
type Trip struct {
	Path     []Node // from the source; for Kademlia those that were asked, in order
	Hops     int    // forwards, the last one to the owner included; for Kademlia how far the owner's referral is
	Messages int    // requests sent, those that nobody answered included
	Timeouts int    // requests to the dead
	Found    bool   // the owner was reached
}

func (t *Trip) start(from Node) { *t = Trip{Path: append(t.Path[:0], from)} }

// step is a forward that arrives.
func (t *Trip) step(to Node) {
	t.Path = append(t.Path, to)
	t.Hops++
	t.Messages++
}

// lost is a forward to somebody dead.
func (t *Trip) lost() {
	t.Messages++
	t.Timeouts++
}

// Geometry names a way to route.
type Geometry string

// The geometries, named as on the command line.
const (
	DBCAN    Geometry = "dbcan"
	CAN2     Geometry = "can2"
	CAN3     Geometry = "can3"
	Koorde   Geometry = "koorde"
	Chord    Geometry = "chord"
	Kademlia Geometry = "kademlia"
)

// Geometries are all of them, in the order of the DBCAN paper's figure 4 and then the others.
func Geometries() []Geometry { return []Geometry{DBCAN, CAN2, CAN3, Koorde, Chord, Kademlia} }

// ParseGeometry reads a name; ErrGeometry lists those there are.
func ParseGeometry(s string) (Geometry, error) {
	if g := Geometry(strings.ToLower(strings.TrimSpace(s))); slices.Contains(Geometries(), g) {
		return g, nil
	}
	names := make([]string, 0, len(Geometries()))
	for _, g := range Geometries() {
		names = append(names, string(g))
	}
	return "", fmt.Errorf("%w %q: there is %s", ErrGeometry, s, strings.Join(names, ", "))
}

// Zoned tells whether nodes own zones that joins halve (CAN and DBCAN).
func (g Geometry) Zoned() bool { return g == DBCAN || g == CAN2 || g == CAN3 }

// JoinRule says which zone a join halves; only zoned geometries have a choice.
type JoinRule string

// The rules; see the package comment.
const (
	JoinPlain      JoinRule = "plain"
	JoinNeighbours JoinRule = "nbr1"
)

// Config says what is built.
type Config struct {
	Geometry   Geometry
	Join       JoinRule // for zoned geometries
	K          int      // Kademlia: size of a bucket and of an answer
	Alpha      int      // Kademlia: questions under way at a time
	Beta       int      // Kademlia: a lookup ends when so many of the nearest have answered; 0: all K
	Exhaustive bool     // Kademlia: a lookup asks all K nearest, as before a put, and does not end at the owner
	Successors int      // Chord: nodes that follow on the ring and are known for when fingers are dead
}

// DefaultConfig is plain joins, Kademlia's k 20 and alpha 3, and 8 successors.
func DefaultConfig(g Geometry) Config {
	return Config{Geometry: g, Join: JoinPlain, K: 20, Alpha: 3, Successors: 8}
}

// Bounds of the parameters: beyond them a table is the whole network, or nothing.
const (
	maxK          = 256
	maxSuccessors = 64
)

// Validate says what is wrong, if anything, wrapped in ErrConfig or ErrGeometry.
func (c Config) Validate() error {
	if _, err := ParseGeometry(string(c.Geometry)); err != nil {
		return err
	}
	switch {
	case c.Join != JoinPlain && c.Join != JoinNeighbours:
		return fmt.Errorf("%w: join rule %q: there is %s and %s", ErrConfig, c.Join, JoinPlain, JoinNeighbours)
	case c.K < 1 || c.K > maxK:
		return fmt.Errorf("%w: k is %d: choose 1 to %d", ErrConfig, c.K, maxK)
	case c.Alpha < 1 || c.Alpha > maxK:
		return fmt.Errorf("%w: alpha is %d: choose 1 to %d", ErrConfig, c.Alpha, maxK)
	case c.Beta < 0 || c.Beta > c.K:
		return fmt.Errorf("%w: beta is %d: choose 0 (all of them) to k, %d", ErrConfig, c.Beta, c.K)
	case c.Successors < 1 || c.Successors > maxSuccessors:
		return fmt.Errorf("%w: %d successors: choose 1 to %d", ErrConfig, c.Successors, maxSuccessors)
	}
	return nil
}

// New is an overlay without nodes. All that is random in it comes from rng.
func New(c Config, rng *rand.Rand) (Overlay, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	switch c.Geometry {
	case DBCAN:
		return newDBCAN(c.Join, rng), nil
	case CAN2:
		return newCAN(2, c.Join, rng), nil
	case CAN3:
		return newCAN(3, c.Join, rng), nil
	case Koorde:
		return newKoorde(rng), nil
	case Chord:
		return newChord(c.Successors, rng), nil
	}
	return newKademlia(c, rng), nil
}

// Grow joins nodes until there are n.
func Grow(o Overlay, n int) error {
	for o.Len() < n {
		if _, err := o.Join(); err != nil {
			return fmt.Errorf("joining node %d: %w", o.Len()+1, err)
		}
	}
	return nil
}
