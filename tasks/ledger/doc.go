// Package ledger stores how every call ended, which calls are open, which are dead and
// wait for a person, and which belong to which batch. It is kept in Redis beside
// asynq's queues, so that a call and its record change in one step. This package is an
// internal part of callq and may change.
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
// Three types work on it. [Ledger] is for producers and commands: it accepts calls,
// returns their states, and opens ended ones again. [Dispatcher] is for a worker: it
// delivers calls and records what becomes of them. [Repairer] repairs what a crash has
// left behind. In addition, [Leases], [Roster] and [Fences] are how workers detect each
// other's deaths and a Redis that has gone back in time.
//
// The package handles bytes and states. What a call means, what an API answered and why
// a policy decided so is up to the caller, who writes the [Ending].
//
// Keys: those of a queue begin with callq:{QUEUE}:, one slot of a Cluster together with
// asynq's own keys of that queue; a batch's claims begin with callq:{b:NAME}:.
package ledger
