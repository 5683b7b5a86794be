// Package cluster is the pure core of peerprobe: ids, signed objects, certificates, terms, the election
// machine with its member table, the registry's table, and tickets.
//
// It is not for doing things: it reads no clock, starts no goroutine, opens no socket, draws no
// process-wide random number and logs nothing. Time comes in as an argument, values go out, and the same
// inputs give the same outputs, byte by byte.
//
// # Terms by appointment
//
// A term is (epoch, shard, K). The epoch names a certificate, signed by the registry, which lists up to
// eight candidates; K counts take-overs inside it, and only list[K mod len] may ever lead it. So at most
// one node leads in any term, by construction: no votes, no quorum, and no registry needed while it is
// away. Everybody follows the highest valid Lead ever seen, makes it durable before acting on it, and
// answers anything lower with it. On two sides of a partition two nodes may lead, in different terms; the
// lower folds into the higher when they meet.
//
// # Duties of the caller of Machine
//
//  1. One goroutine owns a Machine. Only it calls Step, Tick, Deadline and the other methods.
//  2. Before New it makes HardState.Boot durable with the number of this run: NextBoot of the stored one.
//  3. now never goes back, and goes on while the host sleeps (CLOCK_BOOTTIME on Linux).
//  4. After each Step and Tick it carries the Output out in order: make Hard durable; send Out and Moves and start
//     Calls, waiting for none of them; hand on Events; arm one timer for Deadline and call Tick then. A Hard that
//     cannot be made durable ends the process: the node must not act on it. The machine holds its caller to
//     Deadline: a step that comes more than half a Suspect after it is taken for a pause of the process (R6), so
//     the loop does nothing else that takes long. After Pick and CheckTicket it asks for Deadline anew.
//  5. Received carries only messages of authenticated peers whose admission was checked; DecodeMessage
//     checked their shape. Messages may be lost, doubled, delayed and reordered.
//  6. Connected and Disconnected tell of the first connection to a peer and of the end of the last; Connected
//     is stepped before anything that came over the new connection. Without them everything works, but a
//     take-over waits for silence.
//  7. Each Call ends in one Answered; one that gets none counts as failed after ten seconds. While
//     Status says orphan the caller registers again from time to time, and shows Status.CutOff and CertRaw:
//     where nobody of the list is left, the registry names another head (Table.Rebirth).
//  8. Learned brings every Lead that came by another way: from the DHT, shown with a request, returned with
//     a refused ticket, remembered from an earlier run; and Ticket.Lead of a ticket that CheckTicket took, because
//     its issuer may be ahead of this node.
//  9. While Status.Unsure it writes nothing to the DHT, and acknowledges nothing by ways of its own.
//  10. Health says what the caller notices of its own host: a slow disk, a slow loop, that it is to be drained.
//     Attested brings what this node, as a head, measured of a member; nothing that members say of themselves
//     counts as measured.
//  11. Results are on disk before Submitted and Stored say so, and stay there: own ones until Acked says level 3,
//     those of others until Trimmed, and for Retention after it. What is to be sent of them stands in Moves.
//  12. A process that is to end steps Stopping, and goes on until Status says that it does not lead, a second or two
//     at most: a head stays in office until its heir has taken over.
//  13. What Status, Members, Succession, Heads and Trust return is shared and must not be written through.
//
// # States and transitions
//
//	orphan     no Lead known, no head heard itself since the boot, the head silent for Orphan, or this node
//	           booted in a term that it led: asks the last head and the candidates every Heartbeat (WhoIs);
//	           in the last case resigns too (a node that has not heard the head of High itself asks too)
//	endpoint   follows High: heartbeats every HeartbeatAll
//	candidate  listed in the certificate: heartbeats every Heartbeat, keeps a copy of the head's tables,
//	           suspects, probes, and claims in its turn
//	backup     the candidate that the head names: next in line, and its copy is up to date
//	head       beacons, member table, copies, list, reports, tickets, acknowledgements of results
//	  unsure   for two ProbeWaits after a pause: beacons as ever, but no acknowledgements, evictions, tickets,
//	           proposals (R6); events Unsure
//	  handing over  its heir's copy is brought up to date (copying), then it resigns to it and serves on
//	           (resigned) until it sees the higher Lead, or three beacon intervals are over (R8)
//
//	any -> endpoint, candidate   a higher Lead, by any path (R1); a head first steps down
//	candidate -> probing         Suspect + (d-1) Stagger of silence; at once where the connection closed
//	                             and d = 1, d being the place in line (R2)
//	probing -> candidate         the head answers; or half of the answers are fresh and its seq moved on,
//	                             at most three times in a row (R3)
//	probing -> head              otherwise, after ProbeWait; after a hint as soon as all say no (R3, R4)
//	candidate -> head            the head resigned to it (R5, R8), unless it has just booted or was paused
//	head -> unsure               a step came more than half a Suspect late (R6)
//	head -> handing over         not well after a minute of leading, or it stops, or it stood in for a deserted
//	                             list of which somebody is back (R8)
//	head -> head                 a newer certificate that lists it (R7)
//	head -> candidate, orphan    a newer certificate that does not list it (R7)
//	head -> orphan               a restart: it resigns, and never resumes that term (R5)
//
// A head drops members after Evict of silence, and calls them for a day (R10); it proposes a new list when
// the living or their order changed (R11).
//
// # What is promised
//
// At most one node ever acts as head of a term. High never falls and always verifies. Every control
// message carries its term, and whoever knows a higher one refuses it. The registry never signs two
// certificates of one city with one epoch. With a live candidate there is a new head within Suspect +
// (d-1) Stagger + ProbeWait once messages arrive again.
//
// Not promised: one head during a partition; a take-over when all candidates are gone and the registry is
// away; protection from a listed candidate that claims without need.
package cluster
