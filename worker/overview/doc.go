// Package overview reads the state of the whole queue at one moment: what flows, what is
// held and until when, how much of the limits and budgets is used, and how far the batches
// are. The status page, callq top and the metrics show what it returns. It may change in
// any version.
//
//	reader, err := overview.NewReader(overview.Config{Redis: rdb, Upstreams: upstreams})
//	…
//	now, err := reader.Read(ctx)
//	for _, u := range now.Upstreams {
//		fmt.Println(u.Name, u.Circuit.State, u.Runnable)
//	}
//
// A reading costs about fifteen round trips, however many calls there are: it reads
// lengths and counts, and never lists calls. Readers that ask within the same second share
// one reading. The package must not depend on who shows what it returns.
package overview
