// Package callsfile recognizes files that are not files of calls, and decompresses a file whose name says that it is compressed.
//
// A file of calls has one JSON object per line, in UTF-8. Users also give other files: a table, a JSON array, a file that an
// editor saved as UTF-16. [Detect] examines the beginning of a file and returns a [Finding] if no line of it can be read as a
// call. The finding names the format and a command that converts the file to JSON lines. [Detect] does not check single lines:
// [tasks.ReadCalls] refuses invalid ones.
//
//	head, whole, err := callsfile.Head(r)
//	if found := callsfile.Detect(head, whole); found != nil {
//		return errors.New(found.In("calls.csv"))	// calls.csv is CSV (separated by semicolons), …
//	}
//
// The package does not depend on configurations or queues.
package callsfile
