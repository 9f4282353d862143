// Package tasks defines calls and results: a [Call] is one HTTP request to make, a job
// is the same for Go code, and a [Result] is how either ended. The package reads calls
// from files, reports the line and the field of an error, gives each call its id and
// its content hash, and writes and reads the form in which calls are stored in Redis.
//
//	for line, err := range tasks.ReadCalls(file, tasks.ReadOptions{}) {
//		var refused *tasks.FieldError
//		switch {
//		case errors.As(err, &refused):
//			log.Print(refused) // line 17: field "path" must begin with "/" …; the other lines go on
//		case err != nil:
//			return err // the file could not be read
//		default:
//			submit(line.Call)
//		}
//	}
//
// # The path of a call
//
// Whatever the source of a call (a file, the HTTP API, Go code), only [Rules.Check]
// completes and checks it:
//
//	bytes -> ParseCall -> Rules.Check -> TaskID, ContentHash -> a record in Redis -> worker
//
// A call has a path, never a host: scheme, host and credential belong to the upstream,
// and so do the headers of [ReservedHeader].
//
// # Producer and client
//
// A [Producer] adds calls and jobs to the queue. A [Client] reads them: one call by its
// id, a batch by its name, dead letters by the reason. It cancels, redrives and purges,
// and its sentinel errors say why a call was not changed.
//
// # Jobs
//
// A job is a call whose method is [MethodJob], whose path is "/" and its kind, and
// whose body is its arguments as JSON. So the ledger, the results file, endpoint
// patterns ("JOB /invoice.send") and limits treat both in the same way. [NewJob] makes
// one.
//
// # What does not belong here
//
// How calls are made (worker) and how failures are judged (policy). The values are
// plain: all functions may be called from many goroutines, as long as no goroutine
// changes a Call's maps or bodies meanwhile.
package tasks
