// Package registry is the registry role: it admits nodes, places them in the
// cluster of their city by their address, appoints the first head of a city,
// signs certificates, takes in results and answers questions about them.
//
// It is not needed for measuring: once a node has registered, clusters elect
// their heads, find one another and measure while every registry is down. It is
// not a coordinator either: it tells nobody what to do.
//
// # What it promises
//
//  1. What it answers is durable before the answer leaves: a restart knows
//     every admission, certificate and Lead that was ever shown.
//  2. Requests are decided one after the other. Of any number of concurrent
//     first nodes of a city one is appointed, and asking again changes nothing.
//  3. A result is taken in exactly once, and acknowledged only when it is on
//     disk.
//  4. In public it shows the join document and its health, nothing else.
//
// # Who is admitted
//
// With Config.Tokens false (open admission) everybody is, within limits that
// make many identities expensive: 2 nodes an address, 4 a /24 or /48, counting
// nodes that were heard of in the last 24 hours. Loopback and private addresses
// are exempt from both counts, because they are the operator's own. Nodes at
// public addresses are then of the class guest, those at loopback and private
// addresses of the class own.
//
// With Config.Tokens true a token is asked for. It belongs to one network, can
// be bound to a city, has a class, a number of uses and an expiry, and each use
// is bound to the identity that made it: that node may come back at any time
// without using up another. Only hashes of tokens are stored. A token that is
// shown is always checked, also where none is needed.
//
// Requests of identities that are not admitted yet are limited to a burst of 64
// and then 1 a second an address (a /64 of IPv6).
//
// # Cities that lost their candidates
//
// A city is led by the names of its certificate only. Where all of them are gone
// for good, the registry names another node (rebirth): one that has been cut off
// for 12 s and knows the present certificate, when this registry has run for
// 60 s, has heard nobody of the list for 30 s, and reaches none of them on a new
// connection. That node then stands before the old list; who comes back follows
// it.
//
// # Data directory
//
//	network.key           signs admissions and certificates, and is the network; keep a copy apart from the rest
//	host.key              identity of this host, endorsed by the network key in the join document
//	token                 the first token, made where Tokens is set and none exists
//	places.txt            where the operator says that nodes and networks are, if he says so; see SetOverride
//	registry.db           nodes, cities, tokens, audit, which results are known
//	results-YYYY-MM-DD.db results, a file a day
package registry
