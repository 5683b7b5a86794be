// Package store keeps what must outlive a process: tables on bbolt, the cache in front of them, the
// spool, and the registry's results, one file a day.
//
// It is for three kinds of data directory files, each locked by one process at a time:
//
//   - hard.db ([HardFile]): what the election must not forget, in a file of its own, so that a
//     take-over never waits behind a batch of results; one fsync a Save.
//   - node.db ([DB]): nodes, member rows, heads, results, the spool, tasks, audit, small settings.
//   - the registry's directory ([Registry]): registry.db with nodes, cities, tokens, audit and the keys
//     of all results ever seen, beside results-YYYY-MM-DD.db, one a day: retention is unlink.
//
// It is not for judging what it stores: it verifies no signature, compares no terms and places no
// node. It knows cluster and probe for their types only.
//
// It promises:
//
//   - A method that returned nil for a write has made it durable (fsync). What was not acknowledged
//     may be there or not after a crash, never half of it.
//   - Writes are idempotent by key: a result that comes twice is stored once.
//   - All writes to one file go through one goroutine: one commit is in flight, and all that came
//     meanwhile share the next one, so that a thousand writers pay for a few fsyncs.
//   - Reads of nodes, heads and results go to the cache, else they load and fill it; writes go first
//     to the cache and then to the table, in batches (the measurement paper's data access layer,
//     Zhao & Li 2016, section 2.5, Fig. 4). The cache is bounded by bytes.
//   - A file that cannot be read, is damaged, locked, or was written by a newer schema is refused
//     with a sentence that says so. Nothing is deleted to make an error go away.
//
// All types are safe for concurrent use. Open starts one goroutine a file, Close joins it.
package store
