// Package console prints what a command tells people: words, tables, and on standard
// error its progress. It must not know what the command does.
//
//	screen := console.NewScreen(os.Stderr, console.IsTerminal(os.Stderr), secrets.Text)
//	progress := console.NewProgress(screen, screen, false)
//	progress.Begin(len(calls), 0)
//	for i := range calls {
//		…
//		progress.Update(func() console.Status { return console.Status{Ended: i + 1, Details: slowest} })
//	}
//	progress.Close()
//
// On a terminal the progress is a frame of lines that change in place, below
// everything else that is written to the screen:
//
//	row-9: failed for good after 6 attempts (dead letter)
//	[=======>              ]  34%  170 of 500 calls have ended, 1 dead, 12.5/s, about 26s left
//	  row-58: HTTP 500, next in 15s
//
// Elsewhere it is the first of these lines, now and then.
package console
