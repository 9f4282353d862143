// Package callsfile tells what a file is that was given as a file of calls, and unpacks it where its name says that it is
// compressed.
//
// A file of calls has one JSON object a line, in UTF-8. People give others: a table, an array, what an editor saved as UTF-16.
// [Detect] looks at the beginning of a file and returns a [Finding] where no line of it can be read as a call; the finding names
// the format and the command that makes JSON lines of it. Single bad lines are not its business: [tasks.ReadCalls] refuses those
// one by one.
//
//	head, whole, err := callsfile.Head(r)
//	if found := callsfile.Detect(head, whole); found != nil {
//		return errors.New(found.In("calls.csv"))	// calls.csv is CSV (separated by semicolons), …
//	}
//
// The package knows nothing of configurations and queues.
package callsfile
