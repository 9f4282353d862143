// Package history counts, for each minute of the last hours, how the attempts of an
// upstream ended, so that people can see it as a chart. It may change in any version.
//
//	recorder := history.NewRecorder(rdb)
//	recorder.Add("patsnap", history.Done, time.Now()) // in memory
//	err := recorder.Flush(ctx)                        // every few seconds
//
//	minutes, err := history.Read(ctx, rdb, []string{"patsnap"}, now, 60)
//
// It also notes the correlation ids of failed attempts for some days, so that a person who
// has one from the API's support finds the call.
//
// The counts are for people only. Nothing depends on them: what a process has not flushed
// when it is killed is missing, and nothing else counts calls here. The ledger has the
// exact counts.
package history
