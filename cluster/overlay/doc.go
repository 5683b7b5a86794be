// Package overlay models routing geometries at sizes that no machine can run: CAN, DBCAN, Koorde, Chord and
// Kademlia, behind one interface, so that what a layer of heads costs at 100 or at a million is a figure and not an
// opinion. It is a model, not a transport: there is no time in it, no loss and no message, only who knows whom and
// who is asked next. Nothing at run time uses it; cmd's sim does.
//
// It promises: the same generator and the same calls give the same network and the same routes; no clock, no
// goroutine, no I/O; memory in proportion to the number of nodes, at most some 200 bytes each.
//
// # Sources
//
//   - CAN: Ratnasamy and others, "A Scalable Content-Addressable Network", SIGCOMM 2001. Zones are halved in the
//     order x, y, x, y; the zone reassignment of its section 3.7 is used at every departure.
//   - DBCAN: Bi, "DBCAN" (CAN on a de Bruijn graph B(2, n)); section 2.1 is what is built here, section 3 (figures 2
//     to 4) is what is measured.
//   - Koorde: Kaashoek and Karger, "Koorde: a simple degree-optimal distributed hash table", IPTPS 2003; degree 2.
//   - Chord: Stoica and others, SIGCOMM 2001, with closest preceding fingers.
//   - Kademlia: Maymounkov and Mazières, IPTPS 2002; buckets of k, alpha questions at a time.
//
// # Where DBCAN's text is silent, and the reading that is used
//
//   - Which zone a join splits is not said. [JoinPlain] halves the zone that owns a random key, as CAN does.
//     [JoinNeighbours] halves the largest of the owner, its children and its parents (ties: the owner, then at
//     random). Only the second gives the balance of the paper's figure 3.
//   - How zones are merged when a node leaves is not said either, only that small ones are. Here the leaver's
//     sibling takes the zone when it is a zone; else two sibling zones below the sibling become one, and the node
//     that this frees takes the leaver's zone. The pair is found by going down at random. The deepest pair, which is
//     the smallest zones, balances no better: 92.9 % in two classes after half a turnover, against 93.0 %.
//   - The paper routes to a node id U. Where U is shorter than what X can align with, no child continues U and the
//     rule is stuck; routes here lead to keys, which are longer than all ids, and end at the owner.
//   - "The longest suffix of X that is a prefix of U" is computed anew at every node. |X|-|S| then falls at each hop,
//     so that a route never has more hops than its first id has bits.
//   - Degree 2 in the paper is the number of children. Nodes 0..0 and 1..1 are their own children; these loops are
//     dropped.
//
// # Koorde's conventions
//
// The imaginary node starts anywhere in (m, successor], where most bits of the key fit behind it; the de Bruijn
// pointer of m is the last node at or before 2m; a pointer that leads back to its own node counts as a hop. With
// these the sums over all pairs of regular rings come out exactly.
package overlay
