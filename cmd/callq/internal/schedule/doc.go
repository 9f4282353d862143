// Package schedule sends files of calls at fixed times: at each tick of a
// schedule one batch, once for the whole fleet of workers.
//
//	err := schedule.Run(ctx, schedule.Config{
//		Redis:     conn.Client,
//		Producer:  producer,
//		Rules:     rules,
//		Schedules: []schedule.Schedule{{Name: "nightly", Calendar: times, File: "/srv/nightly.jsonl"}},
//		Logger:    log,
//	})
//
// Every worker runs it. What makes a tick's batch one and the same whoever sends
// it is its name, made of the schedule's and of the tick's instant: its calls are
// duplicates the second time, so that a batch of which a lost worker sent a part
// is completed by sending it again. A lock in Redis only saves the fleet from
// reading the file as often as it has workers. The clock that counts is Redis's.
//
// The way of one tick:
//
//	          its time comes,                every line was
//	          somebody has the lock          accepted or refused
//	[due] --------------------------> [sending] ----------------> [sent]
//	  |                                |       ^
//	  | a minute has passed            |       | the lock lapses, or was given
//	  v                                v       | back: somebody else has it
//	[missed]: reported, not sent      the sender stopped or was lost
//
// A tick that was missed is reported once, as a log line with the command that
// sends its batch by hand; a person decides whether yesterday's calls are still
// wanted. Ticks that come while an earlier one of the same schedule is being sent
// wait for it, and are missed where it takes too long.
//
// It must not know what calls are for, nor where its settings were written.
package schedule
