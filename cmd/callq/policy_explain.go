package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/spf13/cobra"
)

// maxExplained is the size of the largest body that explain reads, in bytes.
const maxExplained = 8 << 20

// explainFlags describe one attempt.
type explainFlags struct {
	status     int
	headers    []string
	body       string
	cut        bool
	transport  string
	method     string
	endpoint   string
	idempotent bool
	// byPolicy reports that the policy decides whether the call is idempotent.
	byPolicy    bool
	conditional bool
	attempt     int
	canRefresh  bool
	// idempotentBy is what says that the call is idempotent, if it is not the flag.
	idempotentBy string
	// curl and call name a recorded answer.
	curl, call string
	// given reports whether a flag is on the command line.
	given func(flag string) bool
}

func (a *app) policyExplainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain POLICY",
		Short: "Show what a policy decides about an answer, and why",
		Long: `Show what a policy decides about an answer of the API, by which rule, and why each
rule before it did not match. --status, --header and --body describe the answer. If no
answer arrived, --transport says why. --curl reads an answer that curl -i has printed,
and --call takes one from the ledger; --call needs the configuration.`,
		Example: `  curl -si https://api.example.com/search | callq policy explain ./my-api.yaml --curl -
  callq policy explain patsnap --status 200 --body answer.json
  callq policy explain patsnap --status 429 --header 'Retry-After: 60'
  callq policy explain patsnap --transport timeout_after_send --method POST`,
		Args:              takes("POLICY"),
		ValidArgsFunction: completePolicy,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.given = cmd.Flags().Changed
			f.byPolicy = !f.given("idempotent")
			return a.explain(cmd.Context(), args[0], f, time.Now())
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.status, "status", 0, "the answer's HTTP status `N`")
	flags.StringArrayVar(&f.headers, "header", nil, "a header of the answer, `NAME:VALUE`; may be repeated")
	flags.StringVar(&f.body, "body", "", "`FILE` with the answer's body; - reads it from stdin")
	flags.BoolVar(&f.cut, "cut", false, "the body ended before its declared length")
	flags.StringVar(&f.transport, "transport", "", "why there is no answer; `T` is one of "+strings.Join(transports, ", "))
	flags.StringVar(&f.method, "method", http.MethodGet, "the call's `METHOD`")
	flags.StringVar(&f.endpoint, "endpoint", "/", "the call's endpoint, `/PATH`")
	flags.BoolVar(&f.idempotent, "idempotent", false, "the call may be sent again (by default the policy decides, or the method)")
	flags.BoolVar(&f.conditional, "conditional", false, "the request has If-None-Match, If-Modified-Since or another precondition")
	flags.IntVar(&f.attempt, "attempt", 1, "this was the call's `N`th attempt")
	flags.BoolVar(&f.canRefresh, "can-refresh", false, "the credential can be renewed and was not renewed yet")
	flags.StringVar(&f.curl, "curl", "", "`FILE` with what curl -i printed; - reads it from stdin")
	flags.StringVar(&f.call, "call", "", "the last answer of the call with this `ID`")
	completeFlag(cmd, "transport", func() []string { return transports })
	completeFlag(cmd, "call", func() []string { return a.deadIDs(cmd.Context()) })
	return cmd
}

var transports = []string{
	string(policy.TransportDNS), string(policy.TransportDial), string(policy.TransportTLS), string(policy.TransportRedirect), string(policy.TransportTooLarge),
	string(policy.TransportResetBeforeSend), string(policy.TransportResetAfterSend), string(policy.TransportTimeoutBeforeSend), string(policy.TransportTimeoutAfterSend),
}

// explanation is what explain prints, as JSON.
type explanation struct {
	Rule        string        `json:"rule"`
	Where       string        `json:"where"`
	Class       policy.Class  `json:"class"`
	Job         policy.Action `json:"job"`
	Exhausted   bool          `json:"exhausted"`
	Refresh     bool          `json:"refresh"`
	Backoff     string        `json:"backoff,omitempty"`
	Circuit     circuitJSON   `json:"circuit"`
	WaitSeconds float64       `json:"wait_seconds,omitempty"`
	WaitSource  string        `json:"wait_source,omitempty"`
	// CutFromSeconds is the wait that the source asked for, if the hold's max cuts it.
	CutFromSeconds float64 `json:"wait_cut_from_seconds,omitempty"`
	// Unread are the sources that found something which they could not read.
	Unread      []unreadJSON `json:"unread_waits,omitempty"`
	ServerTimes []timeJSON   `json:"server_times,omitempty"`
	UserMessage string       `json:"user_message"`
	Advice      string       `json:"advice"`
	Missed      []missJSON   `json:"missed"`
	// Idempotent reports whether the call may be sent twice. IdempotentBy says what
	// decided it.
	Idempotent   bool   `json:"idempotent"`
	IdempotentBy string `json:"idempotent_by"`
	// Answer describes a recorded answer, and NotRecorded what of it is not known.
	Answer      string   `json:"answer,omitempty"`
	NotRecorded []string `json:"not_recorded,omitempty"`
	// Readings are what the policy found in the answer, and Pace what that says of limits.
	Readings []readingJSON `json:"readings"`
	Pace     []paceJSON    `json:"pace"`

	wait      string
	leastWait time.Duration
}

type circuitJSON struct {
	Effect    policy.Effect `json:"effect"`
	Scope     policy.Scope  `json:"scope,omitempty"`
	Hold      string        `json:"hold,omitempty"`
	After     int           `json:"after,omitempty"`
	MaxProbes int           `json:"max_probes,omitempty"`
	Success   bool          `json:"success"`
}

// timeJSON is what one header says about when to call again.
type timeJSON struct {
	Source      string  `json:"source"`
	Header      string  `json:"header"`
	Value       string  `json:"value"`
	WaitSeconds float64 `json:"wait_seconds"`
	// Unspent reports that the header is about a limit that is not used up.
	Unspent bool `json:"unspent"`
}

func (s timeJSON) String() string {
	wait := time.Duration(s.WaitSeconds * float64(time.Second))
	text := s.Header + ": " + s.Value + ", which is "
	switch {
	case wait > 0:
		text += "in " + console.Duration(wait)
	case wait == 0:
		text += "now"
	default:
		text += console.Duration(-wait) + " ago"
	}
	if s.Unspent {
		text += "; the limit is not used up, so it is not a reason to wait"
	}
	return text + " (" + s.Source + ")"
}

type missJSON struct {
	Rule   string `json:"rule"`
	Where  string `json:"where"`
	Field  string `json:"field"`
	Wanted string `json:"wanted"`
	Got    string `json:"got"`
}

func (a *app) explain(ctx context.Context, name string, f explainFlags, now time.Time) error {
	p, err := openPolicy(name)
	if err != nil {
		return err
	}
	answer, err := a.answerOf(ctx, f)
	if err != nil {
		return err
	}
	if answer.call != nil {
		f.of(answer.call)
		now = answer.call.at
	}
	outcome, readings := p.ReadAnswer(answer.Response), p.Readings(answer.Response)
	if answer.call != nil && answer.Transport == policy.TransportNone {
		answer.call.complete(&outcome, readings)
	}
	outcome.ReceivedAt = now
	method := strings.ToUpper(f.method)
	endpoint := f.endpoint
	if strings.HasPrefix(endpoint, "/") {
		endpoint = method + " " + endpoint
	}
	by := cmp.Or(f.idempotentBy, "--idempotent")
	if f.byPolicy {
		var configured *config.Upstream
		if answer.call != nil {
			configured = answer.call.configured
		}
		f.idempotent, by = idempotentBy(p, configured, endpoint)
	}
	e := explained(p, outcome, policy.Attempt{
		Method: method, Endpoint: endpoint, Idempotent: f.idempotent, Conditional: f.conditional, N: f.attempt, CanRefresh: f.canRefresh,
	}, now)
	e.Idempotent, e.IdempotentBy = f.idempotent, by
	e.addReadings(p, answer, outcome, readings)
	if a.json {
		return a.printJSON(e)
	}
	return e.write(a.stdout)
}

// explained returns the policy's decision, and how long calls wait because of the answer, at
// the first rung and without jitter.
func explained(p *policy.Policy, o policy.Outcome, at policy.Attempt, now time.Time) explanation {
	found := p.Explain(o, at)
	d := found.Decision
	e := explanation{
		Rule: d.Rule, Where: found.Where, Class: d.Class, Job: d.Action, Exhausted: d.Exhausted, Refresh: d.Refresh,
		Backoff: d.Backoff, Advice: d.Advice, Missed: []missJSON{},
		Circuit: circuitJSON{d.Circuit.Effect, d.Circuit.Scope, d.Circuit.Hold, d.Circuit.After, d.Circuit.MaxProbes, d.Circuit.Success},
	}
	var resumes time.Time
	if hold, ok := p.Hold(d.Circuit.Hold); ok && d.Circuit.Effect == policy.EffectOpen {
		until, source := hold.Until(o, now, 0, nil)
		e.WaitSeconds, e.WaitSource = until.Sub(now).Seconds(), string(source)
		e.wait = "the circuit opens for " + console.Duration(until.Sub(now)) + " (" + string(source) + ")"
		if asked := hold.Asked(o, now, 0); asked > until.Sub(now) {
			e.CutFromSeconds = asked.Seconds()
			e.wait = "the circuit opens for " + console.Duration(asked) + ", cut to " + console.Duration(until.Sub(now)) + " by max (" + string(source) + ")"
		}
		e.addUnread(hold.Unread(o, source), "next: "+string(source))
		resumes = until
	}
	for _, t := range policy.ServerTimes(o) {
		e.ServerTimes = append(e.ServerTimes, timeJSON{string(t.Source), t.Header, shown(t.Value), t.Wait.Seconds(), t.Unspent})
	}
	if backoff, ok := p.Backoff(d.Backoff); ok && d.Action == policy.ActionRetry {
		least, longest := backoff.Floor, backoff.Delay(at.N-1, nil)
		e.WaitSeconds, e.WaitSource = longest.Seconds(), "backoff"
		by := ""
		if d.LeastWait > least {
			least, by = d.LeastWait, ", as the server asked"
		}
		if d.LeastWait > longest {
			longest = d.LeastWait
			e.WaitSeconds, e.WaitSource = longest.Seconds(), "server"
		}
		wait := console.Duration(least)
		if longest > least {
			wait += " to " + console.Duration(longest)
		}
		e.wait = fmt.Sprintf("%s%s, then attempt %d of %d", wait, by, at.N+1, backoff.Attempts)
		e.addUnread(backoff.Unread(o), "ignored")
	}
	e.leastWait = d.LeastWait
	e.UserMessage = d.UserMessage(resumes)
	for _, m := range found.Missed {
		e.Missed = append(e.Missed, missJSON(m))
	}
	return e
}

// shown shortens a header's value, and escapes its control characters, which could change
// the terminal.
func shown(value string) string {
	const most = 80
	if r := []rune(value); len(r) > most {
		value = string(r[:most]) + "…"
	}
	return strings.Trim(strconv.Quote(value), `"`)
}

func (e explanation) write(w io.Writer) error {
	t := console.NewTable(w, "decision", e.decision())
	if e.Answer != "" {
		t.Row("answer", e.Answer)
	}
	for _, part := range e.NotRecorded {
		t.Row("not recorded", part)
	}
	t.Row("class", string(e.Class))
	t.Row("rule", e.Rule+" ("+e.Where+")")
	t.Row("circuit", e.Circuit.String())
	t.Row("idempotent", map[bool]string{true: "yes", false: "no"}[e.Idempotent]+" ("+e.IdempotentBy+")")
	if e.wait != "" {
		t.Row("wait", e.wait)
	}
	for _, given := range e.ServerTimes {
		t.Row("server's time", given.String())
	}
	for _, limit := range e.Pace {
		t.Row("pace", limit.String())
	}
	t.Row("user message", cmp.Or(e.UserMessage, "none"))
	t.Row("advice", cmp.Or(e.Advice, "none"))
	if err := t.Flush(); err != nil {
		return err
	}
	if err := e.writeReadings(w); err != nil {
		return err
	}
	if len(e.Missed) == 0 {
		_, err := fmt.Fprintln(w, "\nThis is the first rule.")
		return err
	}
	if _, err := fmt.Fprintf(w, "\n%s before it did not match:\n", console.Plural(len(e.Missed), "rule")); err != nil {
		return err
	}
	t = console.NewTable(w, "RULE", "FIELD", "WANTED", "GOT")
	for _, m := range e.Missed {
		t.Row(m.Rule, m.Field, cut(m.Wanted, mostWanted), m.Got)
	}
	return t.Flush()
}

// mostWanted is how many characters of a long list of codes a table shows. --json has all.
const mostWanted = 60

// cut shortens a text to a number of characters.
func cut(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

func (e explanation) decision() string {
	text := string(e.Job)
	if e.Backoff != "" && e.Job == policy.ActionRetry {
		text += ", backoff " + e.Backoff
	}
	if e.Refresh {
		text = "refresh the credential and replay once; refused again: " + text
	}
	switch {
	case e.Exhausted && e.leastWait > 0:
		text += " (the attempts are used up, or the server asked for a longer wait than the call's max_age leaves)"
	case e.Exhausted:
		text += " (the attempts are used up)"
	}
	return text
}

func (c circuitJSON) String() string {
	var parts []string
	switch c.Effect {
	case policy.EffectOpen:
		parts = append(parts, "open "+string(c.Scope), "hold "+c.Hold)
		if c.After > 1 {
			parts = append(parts, "after "+strconv.Itoa(c.After))
		}
		if c.MaxProbes > 0 {
			parts = append(parts, "max probes "+strconv.Itoa(c.MaxProbes))
		}
	case policy.EffectCount:
		parts = append(parts, "count as a failure")
	default:
		parts = append(parts, "none")
		if c.Success {
			parts = []string{"success"}
		}
	}
	return strings.Join(parts, ", ")
}
