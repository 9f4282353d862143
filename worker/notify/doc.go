// Package notify tells receivers what happened to the queue: a batch has ended, a circuit has
// opened or closed, dead letters have a new cause. Its API may change.
//
// It reads what has changed from Redis, and not from the memory of a worker, so that the death
// of a worker loses no event:
//
//	scripts note endings and causes      circuits' records
//	(ledger.Feed)                               |
//	        \                                   |
//	         v                                  v
//	    Collector: one process of the fleet, once a second (Store.Lead)
//	                       |
//	                       v
//	    Store: an outbox in Redis for each receiver
//	                       |
//	                       v
//	    Pump: submits the first event of an outbox as a job to the receiver's own
//	    upstream, notify.NAME, and the next one when that job has ended
//	                       |
//	                       v
//	    Sender: signs and posts it
//
// An event has an id that depends on what happened only. So each step may be repeated: an
// event is submitted at least once, and the queue knows the id.
//
// The package must not know about workers; package worker connects it to them.
package notify
