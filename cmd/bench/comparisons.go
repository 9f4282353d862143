package main

// The names of the sides. The tables show them.
const (
	nameCallq       = "callq"
	nameLimits      = "callq, limits"
	nameMarked      = "callq, MarkSent"
	nameBoth        = "callq, limits and MarkSent"
	nameAsynq       = "asynq, one server"
	nameAsynqFour   = "asynq, four servers"
	nameAsynqKept   = "asynq, one server, results kept"
	nameProducer    = "callq's producer"
	nameClient      = "asynq's client, 64 goroutines"
	nameRun         = "callq run"
	nameProgram     = "asynq program"
	nameProgramKept = "asynq program, results kept"
)

// workComparison: no-op jobs that are in the queue when the time begins.
var workComparison = comparison{
	title: "no-op jobs", factor: 1,
	sides: []contender{
		callqWorker(nameCallq, variant{}),
		callqWorker(nameLimits, variant{limited: true}),
		callqWorker(nameMarked, variant{marked: true}),
		callqWorker(nameBoth, variant{limited: true, marked: true}),
		asynqWorker(nameAsynq, 1, false),
		asynqWorker(nameAsynqFour, 4, false),
		asynqWorker(nameAsynqKept, 1, true),
	},
	summary: []ratio{
		{nameCallq, nameAsynq, "no-op jobs: asynq"},
		{nameCallq, nameAsynqFour, "– four asynq servers"},
		{nameCallq, nameAsynqKept, "– asynq that keeps results"},
		{nameBoth, nameAsynq, "– asynq; callq with limits, MarkSent"},
	},
}

// sendComparison: calls are sent in bulk, while nobody takes them.
var sendComparison = comparison{
	title: "bulk send", factor: 5,
	sides:   []contender{callqProducer(nameProducer), asynqClient(nameClient)},
	summary: []ratio{{nameProducer, nameClient, "bulk send: asynq's client"}},
}

// httpComparison: a file of GETs becomes a file of answers.
func httpComparison(url string) comparison {
	return comparison{
		title: "HTTP", factor: 1,
		sides: []contender{callqRun(nameRun, url), asynqHTTP(nameProgram, url, false), asynqHTTP(nameProgramKept, url, true)},
		summary: []ratio{
			{nameRun, nameProgram, "`callq run`, HTTP: asynq program"},
			{nameRun, nameProgramKept, "– one that keeps results"},
		},
	}
}
