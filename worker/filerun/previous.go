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

// previousRun is what the results file of previous runs says of the calls of a plan.
type previousRun struct {
	*previousResults
	tally *Tally
	// failed are the states of those that did not end well, by batch and call id.
	failed map[string]map[string]tasks.State
	// batches are those that the results are of.
	batches map[string]bool
	// doubtful are how many of those that are made again may have taken effect.
	doubtful int
}

// readPrevious takes a results file of previous runs into account, and leaves it as it is. Calls
// that ended in a state of redo, and those with a key in renewed, are to be made
// again or are under way. sent learns which calls have a result.
func readPrevious(out *resultsFile, p *plan, sent *journal, redo map[tasks.State]bool, renewed map[mark]bool) (*previousRun, error) {
	e := newPreviousRun()
	again := func(r tasks.Result) bool {
		sent.ended(r.Key, r.Digest)
		e.batches[r.Batch] = true
		chosen := p.isChosen(r.Key, r.Digest)
		if (redo[r.State] || chosen) && policy.Class(r.Class) == policy.ClassOutcomeUnknown {
			e.doubtful++
		}
		return redo[r.State] || chosen || renewed[markOf(r.Key)]
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
	return e, e.checkOurs(out, p)
}

func newPreviousRun() *previousRun {
	return &previousRun{previousResults: &previousResults{}, tally: &Tally{}, failed: map[string]map[string]tasks.State{}, batches: map[string]bool{}}
}

// checkOurs refuses a results file that is another file's: most likely the name of
// one of them is a mistake.
func (e *previousRun) checkOurs(out *resultsFile, p *plan) error {
	if e.results == 0 || e.ours > 0 || p.accepted == 0 {
		return nil
	}
	whole, err := p.whole()
	if err != nil {
		return err
	}
	other, err := out.read(whole, func(tasks.Result) bool { return false }, func(tasks.Result) {})
	if err != nil || other.ours > 0 {
		return err
	}
	return inputError(ProblemOtherResults, "%s is the results file of another file: it has %d results, none of them of a call of this one (or all its lines were changed)",
		out.name, e.results)
}

// previousResults is what a results file of previous runs holds of the calls of a plan.
type previousResults struct {
	// results are all that it holds, ours those of calls of the plan.
	results, ours int
	// gone are the ordinals of the lines that are to be replaced.
	gone []int
	// torn is the last line where it has no end.
	torn *tasks.TornLineError
	// apis are the base_urls of ours, by upstream; nowhere are the upstreams of those
	// that do not say one.
	apis    map[string]map[string]bool
	nowhere map[string]bool
}

func (e *previousResults) noteAPI(r tasks.Result) {
	switch {
	case r.BaseURL == "":
		e.nowhere[r.Upstream] = true
	case e.apis[r.Upstream] == nil:
		e.apis[r.Upstream] = map[string]bool{r.BaseURL: true}
	default:
		e.apis[r.Upstream][r.BaseURL] = true
	}
}

// read reads what previous runs left: known sees the result of every call that is
// finished. It leaves the file as it is. The plan knows what has ended when it
// returns.
func (r *resultsFile) read(p *plan, redo func(tasks.Result) bool, known func(tasks.Result)) (*previousResults, error) {
	if r.file == nil {
		return &previousResults{}, nil
	}
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	e, err := recallLines(r.name, r.file, p, redo, known)
	if err != nil || e.torn == nil {
		return e, err
	}
	return e, checkTorn(r.name, r.file, e.torn)
}

// resume makes the file one that this run can go on with. A half-written last line
// is cut off; the results of calls that are made anew are moved to the file of
// replaced ones, in one step, and with now the others get the base_urls of now.
func (r *resultsFile) resume(e *previousResults, now baseurl.Set) error {
	if r.file == nil {
		return nil
	}
	if e.torn != nil {
		if err := r.repair(e.torn); err != nil {
			return fmt.Errorf("repair the last line of %s: %w", r.name, err)
		}
	}
	if len(e.gone) > 0 || now != nil && len(e.madeWith(now)) > 0 {
		if err := r.replace(e.gone, now); err != nil {
			return fmt.Errorf("move %d replaced results from %s to %s: %w", len(e.gone), r.name, r.replaced(), err)
		}
	}
	end, err := r.file.Seek(0, io.SeekEnd)
	r.size = end
	return err
}

// recallLines takes the lines of a results file of previous runs into account: known sees
// the result of every call that is finished.
func recallLines(name string, from io.Reader, p *plan, redo func(tasks.Result) bool, known func(tasks.Result)) (*previousResults, error) {
	e := &previousResults{apis: map[string]map[string]bool{}, nowhere: map[string]bool{}}
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
		use := p.recall(result, redo)
		if use != lineForeign {
			e.ours++
			e.noteAPI(result)
		}
		switch use {
		case lineFinished:
			known(result)
		case lineOutdated:
			e.gone = append(e.gone, e.results)
		}
	}
	return e, nil
}

// repair mends the end of the file, so that lines can follow.
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

// checkTorn refuses a last line that is not the beginning of a result: a text that
// is none of ours must not be cut off.
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

// others are the batches of other files that the results are of.
func (e *previousRun) others(own string) (list []string) {
	for name := range e.batches {
		if name != "" && name != own && !strings.HasPrefix(name, own+".") {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list[:min(len(list), maxOthers)]
}

// renew looks for calls that the results file has as failed and that somebody has
// redriven since: they are taken out of it, and end in this run.
func (r *runner) renew(ctx context.Context, e *previousRun) (*previousRun, error) {
	renewed := map[mark]bool{}
	for batch, failed := range e.failed {
		if batch != r.cfg.In.batch && !strings.HasPrefix(batch, r.cfg.In.batch+".") {
			continue // another file's, which this run would not find
		}
		if err := r.renewedIn(ctx, batch, failed, renewed); err != nil {
			return e, err
		}
	}
	if len(renewed) == 0 {
		return e, nil
	}
	r.tell(Redriven{Calls: len(renewed)})
	r.plan.forget()
	fresh, err := readPrevious(r.out, r.plan, r.journal, r.redo, renewed)
	if err != nil {
		return e, err
	}
	fresh.doubtful += e.doubtful
	return fresh, nil
}

// neverEnded tells that a call waits for its first ending. Where a results file has one
// of it, the queue has gone back in time, as one that was restored has: the results
// file knows more.
func neverEnded(r ledger.Record) bool { return r.State == ledger.Open && r.Generation <= 1 }

func (r *runner) renewedIn(ctx context.Context, batch string, failed map[string]tasks.State, renewed map[mark]bool) error {
	b, err := r.back.ledger.Batch(ctx, batch)
	if errors.Is(err, ledger.ErrNoBatch) {
		return nil
	}
	if err != nil {
		return err
	}
	// Where the counts agree there is nothing to look for.
	n := map[tasks.State]int64{}
	for _, state := range failed {
		n[state]++
	}
	if c := b.Counts; c.Open == 0 && c.Dead == n[tasks.StateDead] && c.Dropped == n[tasks.StateDropped] && c.Cancelled == n[tasks.StateCancelled] {
		return nil
	}
	for record, err := range r.back.ledger.Statuses(ctx, batch, tasks.TaskID) {
		if err != nil {
			return err
		}
		was, ok := failed[record.ID]
		if neverEnded(record) || record.State == ledger.Cancelled && record.Generation <= 1 {
			continue // the queue is one of an earlier moment, and a run may have closed the call in it
		}
		if ok && record.State != "" && tasks.State(record.State) != was {
			renewed[markOf(record.Key)] = true
		}
	}
	return nil
}
