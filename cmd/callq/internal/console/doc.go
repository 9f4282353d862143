// Package console prints the output of commands for people: text, tables, and on standard
// error the progress. It does not depend on what a command does.
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
// On a terminal the progress is a frame: lines that are redrawn in place, below everything
// else that is written to the screen:
//
//	row-9: failed for good after 6 attempts (dead letter)
//	[=======>              ]  34%  170 of 500 calls have ended, 1 dead, 12.5/s, about 26s left
//	  row-58: HTTP 500, next in 15s
//
// Elsewhere the progress is a single line, written every few seconds.
package console
