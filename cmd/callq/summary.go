package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/internal/fileerror"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

// cause is one reason for failures, as the summary shows it.
type cause struct {
	filerun.Failure
}

// MarshalJSON implements [json.Marshaler].
func (c cause) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Count         int         `json:"count"`
		State         tasks.State `json:"state"`
		Class         string      `json:"class"`
		Code          any         `json:"error_code"`
		Status        int         `json:"http_status,omitempty"`
		Message       string      `json:"message"`
		Advice        string      `json:"advice"`
		Key           string      `json:"key"`
		CorrelationID string      `json:"correlation_id,omitempty"`
	}{c.Count, c.State, string(c.Class), jsonCode(c.Code), c.HTTPStatus, c.Message, c.Advice, c.Key, c.CorrelationID})
}

// jsonCode returns a code for JSON: a number, a string, or null if there is none.
func jsonCode(code json.Number) any {
	switch {
	case json.Valid([]byte(code)):
		return code
	case code != "":
		return string(code)
	}
	return nil
}

// causesOf returns failures as the summary shows them.
func causesOf(failures []filerun.Failure) []cause {
	list := make([]cause, len(failures))
	for i, f := range failures {
		list[i] = cause{f}
	}
	return list
}

// summary is the report at the end of a run.
type summary struct {
	File       string  `json:"file"`
	Results    string  `json:"results"`
	Batch      string  `json:"batch"`
	Calls      int     `json:"calls"`
	Done       int     `json:"done"`
	Dead       int     `json:"dead"`
	Dropped    int     `json:"dropped"`
	Cancelled  int     `json:"cancelled"`
	Open       int     `json:"open"`
	Resumed    int     `json:"resumed"`
	Known      int     `json:"known"` // results that were in the queue; no call was made for them
	Duplicates int     `json:"duplicates"`
	Refused    int     `json:"refused"`
	Replaced   int     `json:"replaced"` // earlier results that were moved out of Results
	Seconds    float64 `json:"seconds"`
	Failures   []cause `json:"failures"`

	repeats []filerun.Repeat

	// again is the command line, without --redo, that makes failed calls again. It is
	// empty if there is none.
	again string
}

// summaryOf returns the summary of a run as it is shown.
func (r *fileRun) summaryOf(s filerun.Summary) summary {
	sum := summary{
		File: r.in.Name(), Results: r.out, Batch: s.Batch, Calls: s.Calls,
		Done: s.Done, Dead: s.Dead, Dropped: s.Dropped, Cancelled: s.Cancelled, Open: s.Open,
		Resumed: s.Resumed, Known: s.Known, Duplicates: s.Duplicates, Refused: s.Refused, Replaced: s.Replaced,
		Seconds: s.Duration.Seconds(), Failures: causesOf(s.Failures), repeats: s.Repeats,
	}
	if s.Continue != filerun.ContinueNot {
		sum.again = r.again
	}
	return sum
}

// conclude prints the summary of a run, and returns the error that it ends with.
func (r *fileRun) conclude(s filerun.Summary, err error) error {
	errs := []error{r.withAdvice(err, s), r.closing(r.summaryOf(s))}
	if s.Refused > 0 {
		errs = append(errs, errFindings)
	}
	if s.Dead+s.Dropped > 0 {
		errs = append(errs, errFailedCalls)
	}
	return errors.Join(errs...)
}

// closing prints the summary: on stdout, or on stderr if the results are on stdout. A closed
// stdout or stderr does not change how the run ended.
func (a *app) closing(s summary) error {
	to := a.stdout
	if s.Results == "-" {
		to, s.Results = a.stderr, ""
		if a.quiet && !a.json {
			return nil
		}
	}
	if err := a.printSummary(to, s); !fileerror.ReaderClosed(err) {
		return err
	}
	return nil
}

// printSummary writes the summary: as one JSON object, or for people.
func (a *app) printSummary(w io.Writer, s summary) error {
	if a.json {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(s)
	}
	text := &errWriter{w: w}
	fmt.Fprintf(text, "%s: %s done, %s dead, %s dropped", console.Plural(s.Calls, "call"), console.Grouped(int64(s.Done)), console.Grouped(int64(s.Dead)), console.Grouped(int64(s.Dropped)))
	for _, more := range []struct {
		n    int
		what string
	}{{s.Cancelled, "cancelled"}, {s.Open, "not finished"}} {
		if more.n > 0 {
			fmt.Fprintf(text, ", %s %s", console.Grouped(int64(more.n)), more.what)
		}
	}
	fmt.Fprintf(text, " in %s\n", console.Duration(time.Duration(s.Seconds*float64(time.Second))))
	if s.Resumed > 0 {
		fmt.Fprintf(text, "%s finished by an earlier run.\n", console.Count(s.Resumed, "was", "were"))
	}
	if s.Known > 0 {
		fmt.Fprintf(text, "%s.\n", knownText(s.Known, "was"))
	}
	if s.Duplicates > 0 {
		fmt.Fprintf(text, "%s.\n", repeatsText(s.Duplicates, s.repeats))
	}
	if s.Refused > 0 {
		fmt.Fprintf(text, "%s refused; see above.\n", console.Subject(s.Refused, "line", "was", "were"))
	}
	if len(s.Failures) > 0 {
		fmt.Fprintln(text)
		for _, c := range s.Failures {
			fmt.Fprintln(text, console.Printable(c.headline()))
			fmt.Fprintln(text, "    "+console.Printable(c.Message))
			fmt.Fprintln(text, "    Next: "+console.Printable(c.Advice))
		}
	}
	if s.Results != "" {
		fmt.Fprintf(text, "\nResults: %s\n", console.Printable(s.Results))
	}
	if s.again != "" {
		s.printAgain(text)
	}
	return text.err
}

// printAgain says how to make failed calls again. Dropped calls would be refused again
// unless their lines or the configuration change.
func (s summary) printAgain(text io.Writer) {
	var states []string
	for _, one := range []struct {
		n     int
		state tasks.State
	}{{s.Dead, tasks.StateDead}, {s.Cancelled, tasks.StateCancelled}} {
		if one.n > 0 {
			states = append(states, string(one.state))
		}
	}
	if s.Dropped > 0 {
		fmt.Fprintln(text, "To make dropped calls again: change their lines, then run the same command.")
		fmt.Fprintf(text, "If the configuration was wrong and not the lines (base_url, headers), correct it, then: %s --redo dropped", console.Printable(s.again))
		fmt.Fprintln(text, " (with --same-api if base_url was changed)")
	}
	if n := doubtful(s.Failures); n > 0 {
		fmt.Fprintln(text, doubt(n))
	}
	if len(states) > 0 {
		fmt.Fprintf(text, "To make the failed calls again: %s --redo %s\n", console.Printable(s.again), strings.Join(states, ","))
	}
}

// doubt says what to check before dead calls are made again. n of them have an unknown
// outcome.
func doubt(n int) string {
	return console.Plural(n, "dead call") + " may have been carried out already (outcome_unknown): check that first, because making a call again may carry it out twice."
}

// doubtful counts the calls that may or may not have taken effect.
func doubtful(failures []cause) (n int) {
	for _, c := range failures {
		if c.Class == policy.ClassOutcomeUnknown {
			n += c.Count
		}
	}
	return n
}

// knownText says that results were in the queue already; be is "is" or "was".
func knownText(n int, be string) string {
	them := "them"
	if n == 1 {
		them = "it"
	}
	return fmt.Sprintf("%s already in the queue; no call %s made for %s", console.Subject(n, "result", "was", "were"), be, them)
}

// headline returns, for example, "12 dropped: bad_parameter 68300004 (row-7, …)".
func (c cause) headline() string {
	line := fmt.Sprintf("%s %s: %s", console.Grouped(int64(c.Count)), c.State, c.Class)
	switch {
	case c.Code != "":
		line += " " + string(c.Code)
	case c.HTTPStatus != 0:
		line += fmt.Sprintf(" HTTP %d", c.HTTPStatus)
	}
	var example []string
	switch {
	case c.Key != "" && c.Count > 1:
		example = append(example, c.Key+", …")
	case c.Key != "":
		example = append(example, c.Key)
	}
	if c.CorrelationID != "" {
		example = append(example, "x-correlation-id "+c.CorrelationID)
	}
	if len(example) > 0 {
		line += " (" + strings.Join(example, "; ") + ")"
	}
	return line
}

// errWriter keeps the first error of its writer.
type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) Write(b []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.w.Write(b)
	e.err = err
	return n, err
}
