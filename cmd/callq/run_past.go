package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// past is what an earlier results file says of the calls of a plan.
type past struct {
	*earlier
	tally *tally
	// failed are the states of those that did not end well, by batch and call id.
	failed map[string]map[string]tasks.State
	// batches are those that the results are of.
	batches map[string]bool
	// doubtful are how many of those that are made again may have taken effect.
	doubtful int
}

// readPast takes an earlier results file into account, and leaves it as it is. Calls
// that ended in a state of redo, and those with a key in renewed, are to be made
// again or are under way. sent learns which calls have a result.
func readPast(out *resultsFile, p *plan, sent *sentFile, redo map[tasks.State]bool, renewed map[mark]bool) (*past, error) {
	e := newPast()
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
	e.earlier, err = out.read(p, again, func(r tasks.Result) {
		e.tally.add(r)
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

func newPast() *past {
	return &past{earlier: &earlier{}, tally: newTally(), failed: map[string]map[string]tasks.State{}, batches: map[string]bool{}}
}

// checkOurs refuses a results file that is another file's: most likely the name of
// one of them is a mistake.
func (e *past) checkOurs(out *resultsFile, p *plan) error {
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
	return misuse("%s is the results file of another file: it has %s, none of them of a call of this one (or all its lines were changed); choose another with -o, or put the lines of both files into one and run that",
		out.name, plural(e.results, "result"))
}

// foresee takes an earlier results file into account as a run would, and leaves it
// as it is. What the queue knows beyond it is not looked for. unsent are those of
// the calls that a run would not send, as one that died may have.
func foresee(name string, p *plan, redo map[tasks.State]bool, chosen []chosenCall, file string) (e *past, unsent int, err error) {
	e = newPast()
	nothing := func() (*past, int, error) { return e, 0, p.choose(chosen, file, &resultsFile{}) }
	if name == "-" {
		return nothing()
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nothing()
	case err != nil:
		return nil, 0, misuse("the results file: %w", err)
	case info.IsDir():
		return nil, 0, misuse("the results file: %s is a folder", name)
	case !info.Mode().IsRegular(): // a stream, which holds no results
		return nothing()
	}
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, 0, misuse("the results file: %w", err)
	}
	sent, err := readSent(path, p.nameOf)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, misuse("the results file: %w", err)
	}
	defer f.Close()
	out := &resultsFile{name: name, file: f}
	if err := p.choose(chosen, file, out); err != nil {
		return nil, 0, err
	}
	if e, err = readPast(out, p, sent, redo, nil); err != nil {
		return nil, 0, err
	}
	for _, call := range sent.earlier() {
		if p.waits(call.Key, call.Digest, 0) {
			unsent++
		}
	}
	return e, unsent, nil
}

// others are the batches of other files that the results are of.
func (e *past) others(own string) (list []string) {
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
func (s *session) renew(ctx context.Context, e *past) (*past, error) {
	renewed := map[mark]bool{}
	for batch, failed := range e.failed {
		if batch != s.in.batch && !strings.HasPrefix(batch, s.in.batch+".") {
			continue // another file's, which this run would not find
		}
		if err := s.renewedIn(ctx, batch, failed, renewed); err != nil {
			return e, err
		}
	}
	if len(renewed) == 0 {
		return e, nil
	}
	s.progress.say("%s failed in %s and redriven since; the queue has the last word", verbalOf(len(renewed), "call", "has", "have"), s.out.name)
	s.plan.forget()
	fresh, err := readPast(s.out, s.plan, s.sent, s.redo, renewed)
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

func (s *session) renewedIn(ctx context.Context, batch string, failed map[string]tasks.State, renewed map[mark]bool) error {
	b, err := s.desk.ledger.Batch(ctx, batch)
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
	for r, err := range s.desk.ledger.Standings(ctx, batch, tasks.TaskID) {
		if err != nil {
			return err
		}
		was, ok := failed[r.ID]
		if neverEnded(r) || r.State == ledger.Cancelled && r.Generation <= 1 {
			continue // the queue is one of an earlier moment, and a run may have closed the call in it
		}
		if ok && r.State != "" && tasks.State(r.State) != was {
			renewed[markOf(r.Key)] = true
		}
	}
	return nil
}

// againLine is the command line that goes on with a file.
func (a *app) againLine(in *callsFile, f runFlags) string {
	words := []string{"callq", "run", in.name}
	if f.out != "" {
		words = append(words, "-o", f.out)
	}
	if f.first > 0 {
		words = append(words, "--first", fmt.Sprint(f.first))
	}
	for i, word := range words {
		words[i] = shellWord(word)
	}
	line := strings.Join(words, " ") + a.where()
	if in.spooled {
		line = "give the same calls to " + line
	}
	return line
}

// next is a command to go on with, as it is typed: of the same queue as this one.
func (a *app) next(command string) string { return "callq " + command + a.where() }

// where are the flags by which this command has found its queue, with a space in
// front of each.
func (a *app) where() string {
	text := ""
	if a.configPath != "" {
		text += " --config " + shellWord(a.configPath)
	}
	switch {
	case strings.Contains(a.redis, "@"):
		text += " --redis URL" // it has a password in it
	case a.redis != "":
		text += " --redis " + shellWord(a.redis)
	}
	return text
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// shellWord writes a word so that a shell reads it as one.
func shellWord(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
