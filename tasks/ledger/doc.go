// Package ledger remembers: how every call ended, which calls are open, which
// are dead and wait for a person, and what belongs to which batch. It is kept in
// Redis beside asynq's queues, so that a call and its record change in one step.
// This package is part of callq's inside and may change.
//
// A call's record goes through these states:
//
//	             accept                 end
//	(claimed) ----------> open -----------------------> done
//	                       ^ |                          dropped
//	                       | |   cancel                 dead
//	                       | +--------------> cancelled   |
//	                       +------------------------------+
//	                         redrive (dead, dropped, cancelled)
//
// Every arrow is one Lua script (lua/*.lua), which changes the record, the
// batch's counts and asynq's lists together. For every batch, at any moment:
//
//	accepted = open + done + dropped + dead + cancelled
//
// Three types work on it. [Ledger] is the books: it takes calls in, tells how they stand,
// and opens ended ones again. [Dispatcher] is a worker's: it hands out calls and records
// what becomes of them. [Repairer] puts right what a crash has left behind. Beside them
// are [Leases], [Roster] and [Fences], by which workers learn of each other's deaths and
// of a Redis that has gone back in time.
//
// The package knows bytes and states. It does not know what a call means, what
// an API answered or why a policy decided so; whoever writes an [Ending] says it.
//
// Keys: all that belongs to a queue stands under callq:{QUEUE}:, one slot of a
// Cluster together with asynq's own keys of that queue; a batch's claims stand
// under callq:{b:NAME}:.
package ledger
