package policy

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// tableRow is one row of a decision table: the outcomes that it is about, and the
// decision.
type tableRow struct {
	name  string
	about func(o Outcome, a Attempt) bool
	class Class
	job   Action
	// backoff is for a retry; hold, scope, after and probes are for a circuit that opens.
	backoff string
	effect  Effect
	scope   Scope
	hold    string
	after   int
	probes  int
	refresh bool
}

func codes(list ...string) func(Outcome, Attempt) bool {
	return func(o Outcome, _ Attempt) bool { return o.Transport == "" && slices.Contains(list, o.Code) }
}

// statuses matches answers with one of the HTTP statuses and without a code.
func statuses(list ...int) func(Outcome, Attempt) bool {
	return func(o Outcome, _ Attempt) bool {
		return o.Transport == "" && o.Code == "" && slices.Contains(list, o.Status)
	}
}

func broken(list ...Transport) func(Outcome, Attempt) bool {
	return func(o Outcome, _ Attempt) bool { return slices.Contains(list, o.Transport) }
}

func unsafe(about func(Outcome, Attempt) bool) func(Outcome, Attempt) bool {
	return func(o Outcome, a Attempt) bool { return !a.Idempotent && about(o, a) }
}

func between(low, high int) func(Outcome, Attempt) bool {
	return func(o Outcome, _ Attempt) bool {
		return o.Transport == "" && o.Code == "" && o.Status >= low && o.Status <= high
	}
}

// statusRows are the rows from "without a code" on that both presets share.
func statusRows(name string) []tableRow {
	patsnap := name == "patsnap"
	rows := []tableRow{
		{name: "bad request", about: statuses(400, 404, 405, 406, 409, 410, 413, 415, 422), class: ClassBadParameter, job: ActionDrop, effect: EffectNone},
		{name: "401", about: statuses(401), class: ClassAuth, job: ActionDeadLetter, refresh: true, effect: EffectOpen, hold: "credential", after: 3},
	}
	if patsnap {
		rows = append(rows,
			tableRow{name: "402", about: statuses(402), class: ClassBalance, job: ActionDeadLetter, effect: EffectOpen, hold: "credential", after: 3},
			tableRow{name: "403", about: statuses(403), class: ClassQuota, job: ActionPark, effect: EffectOpen, scope: ScopeEndpoint, hold: "permission", after: 1, probes: 3})
	} else {
		rows = append(rows,
			tableRow{name: "402", about: statuses(402), class: ClassBalance, job: ActionDeadLetter, effect: EffectOpen, hold: "credential", after: 20},
			tableRow{name: "403 of a limit", about: func(o Outcome, _ Attempt) bool { return o.Status == 403 && o.Transport == "" && o.Header != nil },
				class: ClassQuota, job: ActionPark, effect: EffectOpen, hold: "quota", after: 1},
			tableRow{name: "403", about: statuses(403), class: ClassAuth, job: ActionDeadLetter, effect: EffectNone})
	}
	return append(rows,
		tableRow{name: "429", about: statuses(429), class: ClassQuota, job: ActionPark, effect: EffectOpen, hold: "quota", after: 1},
		tableRow{name: "a gateway without an answer", about: unsafe(statuses(502, 504, 520, 524)), class: ClassOutcomeUnknown, job: ActionDeadLetter, effect: EffectCount},
		tableRow{name: "fault", about: statuses(408, 425), class: ClassTransient, job: ActionRetry, backoff: "standard", effect: EffectCount},
		tableRow{name: "5xx", about: between(500, 599), class: ClassTransient, job: ActionRetry, backoff: "standard", effect: EffectCount},
		tableRow{name: "other 4xx", about: between(400, 499), class: ClassUnknown, job: ActionRetry, backoff: "brief", effect: EffectCount})
}

func transportRows() []tableRow {
	return []tableRow{
		{name: "not reached", about: broken(TransportDNS, TransportDial, TransportResetBeforeSend, TransportTimeoutBeforeSend), class: ClassTransient, job: ActionRetry, backoff: "standard", effect: EffectCount},
		{name: "no answer, unsafe", about: unsafe(broken(TransportResetAfterSend, TransportTimeoutAfterSend)), class: ClassOutcomeUnknown, job: ActionDeadLetter, effect: EffectCount},
		{name: "no answer", about: broken(TransportResetAfterSend, TransportTimeoutAfterSend), class: ClassTransient, job: ActionRetry, backoff: "standard", effect: EffectCount},
		{name: "not trusted", about: broken(TransportTLS, TransportRedirect), class: ClassConfig, job: ActionDeadLetter, effect: EffectOpen, hold: "credential", after: 3},
		{name: "too large", about: broken(TransportTooLarge), class: ClassConfig, job: ActionDeadLetter, effect: EffectNone},
		{name: "anything else", about: func(Outcome, Attempt) bool { return true }, class: ClassUnknown, job: ActionRetry, backoff: "brief", effect: EffectCount},
	}
}

// decisionTables are the decisions of the presets, rows from the top.
func decisionTables() map[string][]tableRow {
	ok := func(o Outcome, _ Attempt) bool {
		return o.Transport == "" && o.Code == "" && o.Status/100 == 2 && o.Flag == FlagTrue
	}
	limit := func(o Outcome, a Attempt) bool {
		return codes("67200000")(o, a) && strings.Contains(strings.ToLower(o.Message), "limit")
	}
	patsnap := append([]tableRow{
		{name: "ok", about: ok, class: ClassOK, job: ActionSucceed, effect: EffectNone},
		{name: "bad parameter", about: codes("68300004", "68300007", "68300010", "67200101"), class: ClassBadParameter, job: ActionDrop, effect: EffectNone},
		{name: "limit by message", about: limit, class: ClassQuota, job: ActionPark, effect: EffectOpen, hold: "quota", after: 1},
		{name: "service fault", about: codes("68300005", "68300008", "67200100", "67200000"), class: ClassTransient, job: ActionRetry, backoff: "standard", effect: EffectCount},
		{name: "basic access", about: codes("68300006"), class: ClassTransient, job: ActionRetry, backoff: "brief", effect: EffectCount},
		{name: "quota", about: codes("67200001"), class: ClassQuota, job: ActionPark, effect: EffectOpen, hold: "quota", after: 1},
		{name: "rate", about: codes("67200002", "67200007"), class: ClassQuota, job: ActionPark, effect: EffectOpen, hold: "rate", after: 1},
		{name: "permission", about: codes("67200004"), class: ClassQuota, job: ActionPark, effect: EffectOpen, scope: ScopeEndpoint, hold: "permission", after: 1, probes: 3},
		{name: "credential", about: codes("67200003", "67200009", "67200008", "67200006"), class: ClassAuth, job: ActionDeadLetter, refresh: true,
			effect: EffectOpen, hold: "credential", after: 3},
		{name: "balance", about: codes("67200005"), class: ClassBalance, job: ActionDeadLetter, effect: EffectOpen, hold: "credential", after: 3},
		{name: "any other code", about: func(o Outcome, _ Attempt) bool { return o.Transport == "" && o.Code != "" }, class: ClassUnknown, job: ActionRetry, backoff: "brief", effect: EffectCount},
	}, statusRows("patsnap")...)
	patsnap = append(patsnap,
		tableRow{name: "status false", about: func(o Outcome, _ Attempt) bool { return o.Transport == "" && o.Flag == FlagFalse },
			class: ClassUnknown, job: ActionRetry, backoff: "brief", effect: EffectCount},
		tableRow{name: "no envelope, unsafe", about: unsafe(between(200, 299)), class: ClassOutcomeUnknown, job: ActionDeadLetter, effect: EffectCount},
		tableRow{name: "no envelope", about: between(200, 299), class: ClassProtocol, job: ActionRetry, backoff: "brief", effect: EffectCount})

	cut := func(o Outcome, _ Attempt) bool { return o.Status/100 == 2 && o.Body == BodyCut && o.Transport == "" }
	http := append([]tableRow{
		{name: "cut, unsafe", about: unsafe(cut), class: ClassOutcomeUnknown, job: ActionDeadLetter, effect: EffectCount},
		{name: "cut", about: cut, class: ClassProtocol, job: ActionRetry, backoff: "brief", effect: EffectCount},
		{name: "ok", about: between(200, 299), class: ClassOK, job: ActionSucceed, effect: EffectNone},
		{name: "304 to a condition", about: func(o Outcome, a Attempt) bool { return o.Status == 304 && a.Conditional && o.Transport == "" },
			class: ClassOK, job: ActionSucceed, effect: EffectNone},
	}, statusRows("http")...)
	return map[string][]tableRow{"patsnap": append(patsnap, transportRows()...), "http": append(http, transportRows()...)}
}

// everySignal are the outcomes that a table distinguishes. http reads no code.
func everySignal(name string) []Outcome {
	var all []Outcome
	for status := 100; status <= 599; status++ {
		all = append(all, Outcome{Status: status, Body: BodyEmpty})
	}
	for _, status := range []int{200, 204, 299} {
		for _, body := range append(slices.Clone(bodies), BodyNone) {
			for _, flag := range []Flag{"", FlagTrue, FlagFalse} {
				all = append(all, Outcome{Status: status, Body: body, Flag: flag})
			}
		}
	}
	for _, transport := range transports {
		all = append(all, Outcome{Transport: transport})
	}
	all = append(all, Outcome{Status: 403, Header: headers("Retry-After", "60")}, Outcome{Status: 403, Header: headers("RateLimit", `"a";r=0;t=5`)},
		Outcome{Status: 429, Header: headers("X-RateLimit-Remaining", "1")})
	if name != "patsnap" {
		return all
	}
	for _, code := range []string{"68300004", "68300005", "68300006", "68300007", "68300008", "68300010", "67200000", "67200001", "67200002", "67200003",
		"67200004", "67200005", "67200006", "67200007", "67200008", "67200009", "67200100", "67200101", "1", "99999999"} {
		for _, status := range []int{200, 400, 403, 429, 502, 504} {
			for _, message := range []string{"", "Total Limit exceeded"} {
				for _, flag := range []Flag{FlagTrue, FlagFalse, FlagAbsent} {
					all = append(all, Outcome{Status: status, Code: code, Message: message, Flag: flag, Body: BodyEnvelope})
				}
			}
		}
	}
	return all
}

func (r tableRow) decision(a Attempt) Decision {
	scope := r.scope
	orDefault(&scope, ScopeAccount)
	return Decision{Class: r.class, Action: r.job, Backoff: r.backoff, Refresh: r.refresh && a.CanRefresh,
		Circuit: Circuit{Effect: r.effect, Scope: scope, Hold: r.hold, After: r.after, MaxProbes: r.probes}}
}

func TestEveryDecisionAgreesWithTheTable(t *testing.T) {
	for name, rows := range decisionTables() {
		p := preset(t, name)
		used := map[string]bool{}
		for _, o := range everySignal(name) {
			for bits := range 8 {
				a := Attempt{Method: "GET", Endpoint: "GET /", N: 1, Idempotent: bits&1 != 0, CanRefresh: bits&2 != 0, Conditional: bits&4 != 0}
				row := rows[slices.IndexFunc(rows, func(r tableRow) bool { return r.about(o, a) })]
				used[row.name] = true
				got := p.Decide(o, a)
				want := row.decision(a)
				want.Circuit.Success = want.Circuit.Effect == EffectNone && o.Transport == ""
				plain := got
				plain.Rule, plain.Message, plain.Advice = "", "", ""
				if plain != want {
					t.Errorf("%s: %s: %+v, %+v: got %+[6]v by rule %[5]s, want %+[7]v", name, row.name, o, a, got.Rule, plain, want)
				}
			}
		}
		for _, r := range rows {
			if !used[r.name] {
				t.Errorf("%s: no signal reaches the row %q, so the test does not check it", name, r.name)
			}
		}
	}
}

func TestTheRecordedCasesAgreeWithTheTable(t *testing.T) {
	for name, rows := range decisionTables() {
		cases, err := PresetCases(name)
		if err != nil {
			t.Fatal(err)
		}
		met := map[string]bool{}
		for _, c := range cases.Cases {
			o := cases.Policy.ReadAnswer(c.Response)
			o.Code = CanonicalCode(o.Code)
			if !limitUsedUp(o.Header, noon) {
				o.Header = nil
			}
			a := c.Request.attempt()
			row := rows[slices.IndexFunc(rows, func(r tableRow) bool { return r.about(o, a) })]
			met[row.name] = true
			if e := c.Expect; e.Class == nil || *e.Class != row.class || e.Action == nil || e.Effect == nil || *e.Effect != row.effect ||
				(*e.Action != row.job && !*e.Exhausted) || e.After != nil && *e.After != row.after || e.Hold != nil && *e.Hold != row.hold {
				t.Errorf("%s:%d: %s: differs from the row %q of the table", c.File, c.Line, c.Name, row.name)
			}
		}
		for _, r := range rows {
			if !met[r.name] {
				t.Errorf("%s: no recorded case is about the row %q", name, r.name)
			}
		}
	}
}

// TestTheREADMEsTableAgreesWithTheDecisions reads the codes and statuses of each row of
// the README's table and compares them with the preset's decisions.
func TestTheREADMEsTableAgreesWithTheDecisions(t *testing.T) {
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(data), "| signal | class | the call | the account |\n")
	if !found {
		t.Fatal("the README has no decision table")
	}
	p := preset(t, "patsnap")
	number, quoted := regexp.MustCompile(`\b([0-9]{8}|[1-5][0-9]{2}|5xx)\b`), regexp.MustCompile("`([a-z]+)`")
	attempts := regexp.MustCompile(`up to (\d+) attempts`)
	read := map[string][]string{}
	checked := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 {
			break
		}
		call, account := strings.TrimSpace(cells[3]), strings.TrimSpace(cells[4])
		if as, ok := strings.CutPrefix(call, "as "); ok {
			call, account = read[as][0], read[as][1]
		}
		for _, signal := range number.FindAllString(cells[1], -1) {
			if len(signal) == 3 && strings.Contains(cells[1], "2xx") {
				continue
			}
			read[signal] = []string{call, account}
			for _, o := range signalsOf(signal, cells[1]) {
				for _, idempotent := range []bool{true, false} {
					d := p.Decide(o, Attempt{N: 1, Idempotent: idempotent, CanRefresh: true})
					checked++
					where := fmt.Sprintf("%s, idempotent %v: the README says %q, %q, %q; the preset %+v", signal, idempotent,
						strings.TrimSpace(cells[2]), call, account, d)
					// The text in brackets is about calls that are not idempotent.
					plain, bracket, _ := strings.Cut(call, "(")
					if !idempotent && slices.Contains(number.FindAllString(bracket, -1), strconv.Itoa(o.Status)) {
						if d.Class != ClassOutcomeUnknown || d.Action != ActionDeadLetter {
							t.Error(where)
						}
						continue
					}
					words := map[Action]string{ActionSucceed: "is done", ActionDrop: "is dropped", ActionPark: "waits", ActionDeadLetter: "dead letter", ActionRetry: "is retried"}
					if string(d.Class) != strings.TrimSpace(cells[2]) || !strings.Contains(plain, words[d.Action]) || d.Refresh != strings.Contains(plain, "fresh token") {
						t.Error(where)
					}
					if b, _ := p.Backoff(d.Backoff); d.Action == ActionRetry {
						if n := attempts.FindStringSubmatch(plain); n == nil || n[1] != strconv.Itoa(b.Attempts) {
							t.Error(where)
						}
					}
					switch d.Circuit.Effect {
					case EffectNone:
						if account != "works" {
							t.Error(where)
						}
					case EffectCount:
						if account != "counted" {
							t.Error(where)
						}
					default:
						hold := quoted.FindStringSubmatch(account)
						if hold == nil || hold[1] != d.Circuit.Hold || strings.Contains(account, "endpoint") != (d.Circuit.Scope == ScopeEndpoint) ||
							strings.Contains(account, "in a row") != (d.Circuit.After > 1) ||
							d.Circuit.After > 1 && !strings.Contains(account, fmt.Sprintf("after %d in", d.Circuit.After)) ||
							d.Circuit.MaxProbes > 0 && !strings.Contains(account, fmt.Sprintf("%d probes", d.Circuit.MaxProbes)) {
							t.Error(where)
						}
					}
				}
			}
		}
	}
	if checked < 200 {
		t.Errorf("only %d signals were found in the README's table", checked)
	}
}

// signalsOf returns the answers that a code or a status in the README's table means.
func signalsOf(signal, cell string) []Outcome {
	if len(signal) == 8 {
		o := Outcome{Status: 200, Flag: FlagFalse, Code: signal, Body: BodyEnvelope}
		if strings.Contains(cell, signal+" whose message says limit") {
			o.Message = "over the limit"
		}
		return []Outcome{o}
	}
	if signal != "5xx" {
		status, _ := strconv.Atoi(signal)
		return []Outcome{{Status: status}}
	}
	var all []Outcome
	for status := 500; status <= 599; status++ {
		all = append(all, Outcome{Status: status})
	}
	return all
}

// TestEveryCodeOfPatsnapIsInTheREADMEsTableAndHasACase also fails if a code is in the test's own
// table only, or only in the preset.
func TestEveryCodeOfPatsnapIsInTheREADMEsTableAndHasACase(t *testing.T) {
	cases, err := PresetCases("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	tried := map[string]bool{}
	for _, c := range cases.Cases {
		tried[CanonicalCode(cases.Policy.ReadAnswer(c.Response).Code)] = true
	}
	checked := map[string]bool{}
	for _, o := range everySignal("patsnap") {
		checked[o.Code] = true
	}
	_, table, _ := strings.Cut(Language, "| signal | class | the call | the account |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, r := range cases.Policy.rules {
		for _, code := range r.match.codes {
			if !strings.Contains(table, code) {
				t.Errorf("rule %s: the table of policy/README.md does not have the code %s", r.id, code)
			}
			if !tried[code] {
				t.Errorf("rule %s: patsnap.cases.yaml has no answer with the code %s", r.id, code)
			}
			if !checked[code] {
				t.Errorf("rule %s: everySignal does not have the code %s", r.id, code)
			}
		}
	}
}
