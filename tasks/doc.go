// Package tasks describes work: a [Call] is one HTTP request to make, a job is the same for Go code, and a [Result] is how
// either ended. It reads calls from files, says by line and field what is wrong with one, gives each its id and its content
// hash, and writes and reads the form in which they wait in Redis.
//
//	for line, err := range tasks.ReadCalls(file, tasks.ReadOptions{}) {
//		var refused *tasks.FieldError
//		switch {
//		case errors.As(err, &refused):
//			log.Print(refused) // line 17: field "path": must begin with "/" …; the other lines go on
//		case err != nil:
//			return err // the file could not be read
//		default:
//			submit(line.Call)
//		}
//	}
//
// # One way in
//
// Whatever the source of a call (a file, the HTTP API, Go code), [Rules.Check] is the one place that completes and judges it:
//
//	bytes -> ParseCall -> Rules.Check -> TaskID, ContentHash -> EncodeCall -> Redis -> Decode -> worker
//
// A call names a path, never a host: scheme, host and credential belong to the upstream, and so do the headers of
// [ReservedHeader].
//
// # Producer and client
//
// A [Producer] puts calls and jobs into the queue. A [Client] follows them: one call by its id, a batch by its name, dead
// letters by what killed them. It cancels, redrives and purges, and says by sentinel errors why a call stays as it is.
//
// # Jobs
//
// A job is a call whose method is [MethodJob], whose path is "/" and its kind, and whose body is its arguments as JSON. So
// the ledger, the results file, endpoint patterns ("JOB /invoice.send") and limits treat both alike. [NewJob] builds one.
//
// # What this package must not know
//
// How calls are made (worker), how failures are judged (policy). Values here are plain: all functions may be called from many
// goroutines, as long as nobody changes a Call's maps or bodies meanwhile.
package tasks
