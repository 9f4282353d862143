// Package schedule sends files of calls at fixed times: one batch at each tick of a
// schedule, once for the whole fleet of workers.
//
//	err := schedule.Run(ctx, schedule.Config{
//		Redis:     conn.Client,
//		Producer:  producer,
//		Rules:     rules,
//		Schedules: []schedule.Schedule{{Name: "nightly", Calendar: times, File: "/srv/nightly.jsonl"}},
//		Logger:    log,
//	})
//
// Every worker runs it. The name of a tick's batch is made of the schedule's name and the
// tick's time, so all workers send the same batch. Calls that are sent a second time are
// duplicates. So if a worker dies while it sends a batch, another worker completes the
// batch by sending it again. The lock in Redis only prevents every worker from reading the
// file. All times are by Redis's clock.
//
// The states of one tick:
//
//	          its time has come,             every line was
//	          a worker has the lock          accepted or refused
//	[due] --------------------------> [sending] ----------------> [sent]
//	  |                                |       ^
//	  | a minute has passed            |       | the lock expires, or was
//	  v                                v       | returned: another worker has it
//	[missed]: reported, not sent      the sender stopped or died
//
// A missed tick is reported once, as a log line with the command that sends its batch by
// hand. A person decides whether yesterday's calls are still needed. Ticks that become due
// while an earlier batch of the same schedule is being sent wait for it, and are missed if
// it takes too long.
//
// The package does not depend on what calls are for, or on where its settings come from.
package schedule
