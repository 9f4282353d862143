package filerun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/baseurl"
)

// previousRun describes the results of previous runs for the calls of a plan.
type previousRun struct {
	*previousResults
	tally *Tally
	// failed has the states of the calls that did not end as done, by batch and call id.
	failed map[string]map[string]tasks.State
	// batches are the batches of the results.
	batches map[string]bool
	// doubtful is the number of calls to make again that the API may have carried out.
	doubtful int
}

// readPrevious reads a results file of previous runs into the plan, without changing it.
// Calls with a state in redo are made again; calls with a key in renewed are open again.
// It removes the calls with a result from the journal sent.
func readPrevious(out *resultsFile, p *plan, sent *journal, redo map[tasks.State]bool, renewed map[hash16]bool) (*previousRun, error) {
	e := newPreviousRun()
	again := func(r tasks.Result) bool {
		sent.ended(r.Key, r.Digest)
		e.batches[r.Batch] = true
		chosen := p.isChosen(r.Key, r.Digest)
		if (redo[r.State] || chosen) && policy.Class(r.Class) == policy.ClassOutcomeUnknown {
			e.doubtful++
		}
		return redo[r.State] || chosen || renewed[hashOf(r.Key)]
	}
	var err error
	e.previousResults, err = out.read(p, again, func(r tasks.Result) {
		e.tally.Add(r)
		if r.State == tasks.StateDone {
			return
		}
		if e.failed[r.Batch] == nil {
			e.failed[r.Batch] = map[string]tasks.State{}
		}
		e.failed[r.Batch][r.ID] = r.State
	})
	if err != nil {
		return nil, err
	}
	return e, e.checkSameInput(out, p)
}

func newPreviousRun() *previousRun {
	return &previousRun{previousResults: &previousResults{}, tally: &Tally{}, failed: map[string]map[string]tasks.State{}, batches: map[string]bool{}}
}

// checkSameInput returns an error if no result is of a call of the input: most likely the
// name of one of the files is a mistake.
func (e *previousRun) checkSameInput(out *resultsFile, p *plan) error {
	if e.results == 0 || e.ours > 0 || p.accepted == 0 {
		return nil
	}
	all, err := p.readAll()
	if err != nil {
		return err
	}
	other, err := out.read(all, func(tasks.Result) bool { return false }, func(tasks.Result) {})
	if err != nil || other.ours > 0 {
		return err
	}
	return inputError(ProblemOtherResults, "%s is the results file of another file: it has %d results, none of them of a call of this one (or all its lines were changed)",
		out.name, e.results)
}

// previousResults describes the content of a results file of previous runs.
type previousResults struct {
	// results is the number of all results, ours the number of results of calls of the
	// plan.
	results, ours int
	// outdated are the numbers, from 1, of the results to move out of the file.
	outdated []int
	// torn is the last line if it is incomplete.
	torn *tasks.TornLineError
	// apis are the base_urls of the plan's results, by upstream; withoutAPI are the
	// upstreams of those without a base_url.
	apis       map[string]map[string]bool
	withoutAPI map[string]bool
}

func (e *previousResults) addAPI(r tasks.Result) {
	switch {
	case r.BaseURL == "":
		e.withoutAPI[r.Upstream] = true
	case e.apis[r.Upstream] == nil:
		e.apis[r.Upstream] = map[string]bool{r.BaseURL: true}
	default:
		e.apis[r.Upstream][r.BaseURL] = true
	}
}

// read reads the results of previous runs into the plan, without changing the file. It
// calls known with the result of every finished call.
func (r *resultsFile) read(p *plan, redo func(tasks.Result) bool, known func(tasks.Result)) (*previousResults, error) {
	if r.file == nil {
		return &previousResults{}, nil
	}
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	e, err := readLines(r.name, r.file, p, redo, known)
	if err != nil || e.torn == nil {
		return e, err
	}
	return e, checkTorn(r.name, r.file, e.torn)
}

// resume prepares the file for this run. It cuts off an incomplete last line, and moves the
// results of calls to make again to the file of replaced results, atomically. If now is not
// nil, the remaining results get the base URLs of now.
func (r *resultsFile) resume(e *previousResults, now baseurl.Set) error {
	if r.file == nil {
		return nil
	}
	if e.torn != nil {
		if err := r.repair(e.torn); err != nil {
			return fmt.Errorf("repair the last line of %s: %w", r.name, err)
		}
	}
	if len(e.outdated) > 0 || now != nil && len(e.otherBaseURLs(now)) > 0 {
		if err := r.replace(e.outdated, now); err != nil {
			return fmt.Errorf("move %d replaced results from %s to %s: %w", len(e.outdated), r.name, r.replaced(), err)
		}
	}
	end, err := r.file.Seek(0, io.SeekEnd)
	r.size = end
	return err
}

// readLines reads the lines of a results file of previous runs into the plan. It calls
// known with the result of every finished call.
func readLines(name string, from io.Reader, p *plan, redo func(tasks.Result) bool, known func(tasks.Result)) (*previousResults, error) {
	e := &previousResults{apis: map[string]map[string]bool{}, withoutAPI: map[string]bool{}}
	for result, err := range tasks.ReadResults(from) {
		var bad *tasks.FieldError
		switch {
		case errors.As(err, &e.torn):
			continue
		case errors.As(err, &bad):
			return nil, inputError(ProblemNotResults, "%s: line %d is not a result, so this does not look like a results file", name, bad.Line)
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		e.results++
		use := p.applyResult(result, redo)
		if use != lineForeign {
			e.ours++
			e.addAPI(result)
		}
		switch use {
		case lineFinished:
			known(result)
		case lineOutdated:
			e.outdated = append(e.outdated, e.results)
		}
	}
	return e, nil
}

// repair repairs the end of the file, so that lines can be appended.
func (r *resultsFile) repair(torn *tasks.TornLineError) error {
	if torn.NeedsNewline {
		if err := r.file.Truncate(torn.Offset); err != nil {
			return err
		}
		_, err := r.file.WriteAt([]byte("\n"), torn.Offset)
		return err
	}
	return r.file.Truncate(torn.Offset)
}

// checkTorn returns an error if the incomplete last line is not the beginning of a result:
// a text that callq has not written must not be cut off.
func checkTorn(name string, file io.ReaderAt, torn *tasks.TornLineError) error {
	if torn.NeedsNewline {
		return nil
	}
	begin := []byte(`{"key":"`)
	head := make([]byte, len(begin))
	n, err := file.ReadAt(head, torn.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !bytes.HasPrefix(begin, head[:n]) {
		return inputError(ProblemNotResults, "%s: line %d is not a result, so this does not look like a results file", name, torn.Line)
	}
	return nil
}

// others returns the batches of other files that the results are of.
func (e *previousRun) others(own string) (list []string) {
	for name := range e.batches {
		if name != "" && name != own && !strings.HasPrefix(name, own+".") {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list[:min(len(list), maxOthers)]
}

// findRedriven looks for calls with a failure in the results file that were redriven
// later. Their results are replaced, and they end in this run.
func (r *runner) findRedriven(ctx context.Context, e *previousRun) (*previousRun, error) {
	renewed := map[hash16]bool{}
	for batch, failed := range e.failed {
		if batch != r.cfg.In.batch && !strings.HasPrefix(batch, r.cfg.In.batch+".") {
			continue // a batch of another file, in which this run would not find it
		}
		if err := r.findRedrivenIn(ctx, batch, failed, renewed); err != nil {
			return e, err
		}
	}
	if len(renewed) == 0 {
		return e, nil
	}
	r.emit(Redriven{Calls: len(renewed)})
	r.plan.reset()
	fresh, err := readPrevious(r.out, r.plan, r.journal, r.redo, renewed)
	if err != nil {
		return e, err
	}
	fresh.doubtful += e.doubtful
	return fresh, nil
}

// neverEnded reports that a call has not ended once. If a results file has a result of it,
// the queue was restored to an earlier state, and the results file is right.
func neverEnded(r ledger.Record) bool { return r.State == ledger.Open && r.Generation <= 1 }

func (r *runner) findRedrivenIn(ctx context.Context, batch string, failed map[string]tasks.State, renewed map[hash16]bool) error {
	b, err := r.backend.ledger.Batch(ctx, batch)
	if errors.Is(err, ledger.ErrNoBatch) {
		return nil
	}
	if err != nil {
		return err
	}
	// If the counts agree, no call was redriven.
	n := map[tasks.State]int64{}
	for _, state := range failed {
		n[state]++
	}
	if c := b.Counts; c.Open == 0 && c.Dead == n[tasks.StateDead] && c.Dropped == n[tasks.StateDropped] && c.Cancelled == n[tasks.StateCancelled] {
		return nil
	}
	for record, err := range r.backend.ledger.Statuses(ctx, batch, tasks.TaskID) {
		if err != nil {
			return err
		}
		was, ok := failed[record.ID]
		if neverEnded(record) || record.State == ledger.Cancelled && record.Generation <= 1 {
			continue // the queue was restored to an earlier state, in which a run may have cancelled the call
		}
		if ok && record.State != "" && tasks.State(record.State) != was {
			renewed[hashOf(record.Key)] = true
		}
	}
	return nil
}
