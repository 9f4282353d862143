package main

import (
	"fmt"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/policy/replay"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// replayJSON is what replay prints, as JSON.
type replayJSON struct {
	Policy string `json:"policy"`
	// Same reports that no attempt is judged otherwise and no end differs, for sure.
	Same      bool `json:"same"`
	Calls     int  `json:"calls"`
	NotJudged int  `json:"not_judged"`
	Open      int  `json:"open"`
	Skipped   int  `json:"skipped_lines"`
	Requests  int  `json:"requests"`
	// Saved requests would not be made; SentAgain calls would be, each at least once.
	Saved          int                 `json:"saved"`
	SentAgain      int                 `json:"sent_again"`
	PartlyRecorded int                 `json:"partly_recorded"`
	Unjudgeable    int                 `json:"unjudgeable"`
	Ends           []replay.Difference `json:"ends"`
	Attempts       []replay.Difference `json:"attempts"`
	// Uncertain calls may end differently: the record does not have what Doubts look at.
	// Perhaps has those that do if the attempts in doubt are decided as they were.
	Uncertain int                 `json:"uncertain"`
	Perhaps   []replay.Difference `json:"perhaps"`
	Doubts    []replay.Doubt      `json:"doubts"`
	// Long calls have as many attempts as a record keeps, or more.
	Long              int      `json:"long"`
	HeldSecondsBefore float64  `json:"held_seconds_before"`
	HeldSeconds       float64  `json:"held_seconds"`
	Unseen            []string `json:"unseen_places"`
	Amount            string   `json:"amount,omitempty"`
	AmountSaved       string   `json:"amount_saved,omitempty"`
	AmountAgain       string   `json:"amount_again,omitempty"`
}

func (r *replaying) print(recorded string) error {
	report := r.replay.Report()
	same := len(report.Ends)+len(report.Judged)+report.Uncertain == 0
	if r.json {
		return r.printJSON(replayJSON{
			Policy: r.name(), Same: same,
			Calls: report.Calls, NotJudged: report.NotJudged, Open: r.open, Skipped: r.skipped, Long: r.long,
			Requests: report.Requests, Saved: report.Saved, SentAgain: report.Added,
			PartlyRecorded: report.Partly, Unjudgeable: report.Unjudgeable, Ends: report.Ends, Attempts: report.Judged,
			HeldSecondsBefore: report.HeldBefore.Seconds(), HeldSeconds: report.Held.Seconds(), Unseen: append([]string{}, report.Unseen...),
			Uncertain: report.Uncertain, Perhaps: report.Perhaps, Doubts: append([]replay.Doubt{}, report.Doubts...),
			Amount: report.Amount, AmountSaved: report.AmountSaved, AmountAgain: report.AmountAgain,
		})
	}
	r.line("%s of %s by the policy %s, %s.", console.Plural(report.Calls, "call"), recorded, r.name(), console.Plural(report.Requests, "recorded request"))
	for _, note := range r.notes(report, isResultsFile(recorded)) {
		r.line("%s", note)
	}
	r.line("")
	if same {
		r.line("Nothing would change: every attempt is judged as it was.")
	} else {
		r.line("%s differently.", console.Subject(total(report.Ends), "call", "ends", "end"))
	}
	if err := r.table(report.Ends, "CALLS", endText); err != nil {
		return err
	}
	if err := r.printUncertain(report); err != nil {
		return err
	}
	if len(report.Judged) > 0 {
		r.line("")
		r.line("Attempts that are judged differently:")
	}
	if err := r.table(report.Judged, "ATTEMPTS", attemptText); err != nil {
		return err
	}
	r.line("")
	return r.totals(report)
}

// total is of how many calls or attempts the differences are.
func total(list []replay.Difference) (n int) {
	for _, d := range list {
		n += d.Count
	}
	return n
}

// printUncertain says which calls may end differently, and what is not recorded of them.
func (r *replaying) printUncertain(report replay.Report) error {
	if report.Uncertain == 0 {
		return nil
	}
	r.line("")
	noun := "call"
	if len(report.Ends) > 0 {
		noun = "more call"
	}
	r.line("%s may end differently: the record does not have what these rules look at.", console.Plural(report.Uncertain, noun))
	t := console.NewTable(r.stdout, "ATTEMPTS", "RULE", "LOOKS AT")
	for _, d := range report.Doubts {
		t.Row(console.Grouped(int64(d.Attempts)), d.Rule, d.Reads)
	}
	if err := t.Flush(); err != nil || len(report.Perhaps) == 0 {
		return err
	}
	r.line("")
	r.line("If those attempts are decided as they were, %s differently.",
		console.Count(total(report.Perhaps), "of these calls ends", "of these calls end"))
	return r.table(report.Perhaps, "CALLS", endText)
}

func (r *replaying) line(format string, args ...any) {
	fmt.Fprintln(r.stdout, console.Printable(fmt.Sprintf(format, args...)))
}

// notes says what the record does not have; lastOnly: it is a results file.
func (r *replaying) notes(report replay.Report, lastOnly bool) (notes []string) {
	add := func(n int, one, many string) {
		if n > 0 {
			notes = append(notes, console.Subject(n, "call", one, many))
		}
	}
	add(r.open, "has not ended and is left out.", "have not ended and are left out.")
	add(report.NotJudged, "keeps its end: no policy decided it, or the record has no answer.",
		"keep their ends: no policy decided them, or the record has no answer.")
	if r.skipped > 0 {
		notes = append(notes, console.Subject(r.skipped, "line", "is no result and is left out.", "are no results and are left out."))
	}
	if r.long > 0 {
		notes = append(notes, fmt.Sprintf("%s %d attempts or more, of which the record has the last %d.",
			console.Subject(r.long, "call", "has", "have"), ledger.LogLimit, ledger.LogLimit))
	}
	if lastOnly {
		notes = append(notes, "Only the last answer of each call is judged, with the headers of keep_headers.")
	} else if report.Partly > 0 {
		notes = append(notes, console.Subject(report.Partly, "attempt", "is", "are")+
			" judged by what was recorded, which is not all that a policy reads.")
	}
	if report.Unjudgeable > 0 {
		notes = append(notes, console.Subject(report.Unjudgeable, "attempt", "keeps its", "keep their")+
			" decision: of the answer at most the status is recorded.")
	}
	if len(report.Unseen) > 0 {
		notes = append(notes, "The policy reads what no recorded answer has: "+strings.Join(report.Unseen, ", ")+
			". Only what the policy of then named is recorded.")
	}
	return notes
}

func (r *replaying) table(list []replay.Difference, what string, text func(replay.End) string) error {
	if len(list) == 0 {
		return nil
	}
	t := console.NewTable(r.stdout, what, "RECORDED", "BY "+r.name(), "FOR EXAMPLE")
	for _, d := range list {
		t.Row(console.Grouped(int64(d.Count)), text(d.Before), text(d.After), d.Example)
	}
	return t.Flush()
}

// endText says how a call ends.
func endText(e replay.End) string {
	state := e.State
	if state == replay.Again {
		state = "sent again"
	}
	return state + because(e)
}

// attemptText says what is decided about an attempt.
func attemptText(e replay.End) string {
	words := map[string]string{string(policy.ActionDeadLetter): "dead letter"}
	if word, ok := words[e.State]; ok {
		return word + because(e)
	}
	return e.State + because(e)
}

func because(e replay.End) string {
	if e.Rule == "" {
		return ", " + e.Class
	}
	return ", " + e.Class + " (" + e.Rule + ")"
}

// totals says what would be saved and what would be spent.
func (r *replaying) totals(report replay.Report) error {
	saved := console.Grouped(int64(report.Saved))
	if report.Uncertain > 0 {
		saved += ", without those of calls that may end differently"
	}
	t := console.NewTable(r.stdout, "requests saved", saved)
	again := console.Grouped(int64(report.Added))
	if report.Added > 0 {
		again = "at least " + again + ", what they are answered is not known"
	}
	t.Row("requests more", again)
	if report.HeldBefore > 0 || report.Held > 0 {
		held := console.Duration(report.HeldBefore) + " by the record, "
		if report.HeldBefore == 0 {
			held = "not recorded, "
		}
		t.Row("time held", held+"about "+console.Duration(report.Held)+" by "+r.name())
	}
	if report.Amount != "" {
		money := report.Amount + " charged by the record"
		if report.AmountSaved != "" {
			money += ", " + report.AmountSaved + " of it saved"
		}
		if report.AmountAgain != "" {
			money += ", " + report.AmountAgain + " of it for answers after which the call is sent again"
		}
		t.Row("money", money)
	}
	return t.Flush()
}
