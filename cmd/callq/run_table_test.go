package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// quick is the preset with the shortest waits that the queue supports.
const quick = `version: 1
name: quick
extends: patsnap
backoffs:
  standard: {floor: 1ms, base: 1ms, cap: 10ms, attempts: 6, max_age: 24h}
  brief: {floor: 1ms, base: 1ms, cap: 10ms, attempts: 3, max_age: 24h}
holds:
  quota: {sources: [retry-after, ratelimit-reset, ladder], max: 25h, ladder: [1s]}
  rate: {sources: [retry-after, ratelimit-reset, ladder], max: 25h, ladder: [1s]}
  permission: {sources: [retry-after, ladder], max: 25h, ladder: [1s]}
breaker: {window: 30s, min_calls: 1000, ratio: 1}
`

// row is one row of the decision table, as a call meets it.
type row struct {
	name, method, answer string
	// upstream is main unless the row opens a circuit: another row's call would be
	// its probe. Two answers that speak against the credential open none, three
	// would.
	upstream string
	state    tasks.State
	class    string
	code     string
	message  string
	attempts int
	parked   int
	// silent rows get no answer, so there is no correlation id.
	silent bool
}

const (
	badRequest  = "The service could not accept this request as it was written."
	badUpload   = "The file does not meet what the service asks of uploads."
	noEndpoint  = "The service does not offer what was asked for."
	passing     = "The service had a temporary fault and could not answer."
	noAccess    = "The service could not reach the data behind this request."
	badKey      = "The service did not accept our credentials."
	noCredit    = "The account with the service has run out of credit."
	unknownCode = "The service reported an unknown problem."
	unknownHTTP = "The service refused this request for an unknown reason."
	noReason    = "The service refused this request without saying why."
	unreadable  = "The service answered in a form that could not be read."
	unreadPOST  = "The request may have been carried out, but its answer could not be read."
	noAnswer    = "The service did not answer in time."
	notReached  = "The service could not be reached."
	maybeDone   = "The request may have been carried out, but no answer arrived."
	unsafe      = "The service could not be reached safely because of a setting on our side."
	tooLarge    = "The service's answer is larger than we accept."
)

// decisionTable has every row of the decision table, but for those of an address that
// no call has ever reached: nothing ends there.
func decisionTable() []row {
	done, dead, dropped := tasks.StateDone, tasks.StateDead, tasks.StateDropped
	rows := []row{
		{name: "ok", answer: "ok", state: done, class: "ok", attempts: 1},
		{name: "68300004", answer: "68300004", state: dropped, class: "bad_parameter", code: "68300004", message: badRequest, attempts: 1},
		{name: "68300007", answer: "68300007", state: dropped, class: "bad_parameter", code: "68300007", message: badRequest, attempts: 1},
		{name: "68300010", answer: "68300010", state: dropped, class: "bad_parameter", code: "68300010", message: badUpload, attempts: 1},
		{name: "67200101", answer: "67200101", state: dropped, class: "bad_parameter", code: "67200101", message: noEndpoint, attempts: 1},
		{name: "67200000-then-ok", answer: "67200000 message=\"unknown\" x2; ok", state: done, class: "ok", attempts: 3},
		{name: "68300006", answer: "68300006 forever", state: dead, class: "transient", code: "68300006", message: noAccess, attempts: 3},
		{name: "no-row", answer: "68309999 forever", state: dead, class: "unknown", code: "68309999", message: unknownCode, attempts: 3},
		{name: "code-whatever-status", answer: "68300004@503", state: dropped, class: "bad_parameter", code: "68300004", message: badRequest, attempts: 1},
		{name: "418", answer: "http:418 forever", state: dead, class: "unknown", message: unknownHTTP, attempts: 3},
		{name: "no-code", answer: "no-code forever", state: dead, class: "unknown", message: noReason, attempts: 3},
		{name: "504", method: "GET", answer: "http:504; ok", state: done, class: "ok", attempts: 2},
		{name: "504-post", method: "POST", answer: "http:504", state: dead, class: "outcome_unknown", message: maybeDone, attempts: 1},
		{name: "reset", answer: "reset; ok", state: done, class: "ok", attempts: 2},
		{name: "reset-forever", answer: "reset forever", state: dead, class: "transient", message: noAnswer, attempts: 6, silent: true},
		{name: "reset-post", method: "POST", answer: "reset-after", state: dead, class: "outcome_unknown", message: maybeDone, attempts: 1, silent: true},
		{name: "hang", upstream: "slow", answer: "hang; ok", state: done, class: "ok", attempts: 2},
		{name: "hang-post", upstream: "slow", method: "POST", answer: "hang", state: dead, class: "outcome_unknown", message: maybeDone, attempts: 1, silent: true},
		{name: "no-envelope", answer: "body=`{\"no\":\"envelope\"}` forever", state: dead, class: "protocol", message: unreadable, attempts: 3},
		{name: "redirect-within", answer: "redirect:/moved", state: done, class: "ok", attempts: 1},
		{name: "gzip", answer: "ok gzip", state: done, class: "ok", attempts: 1},
		{name: "too-large", upstream: "narrow", answer: "big=10KB", state: dead, class: "config", message: tooLarge, attempts: 1},
		{name: "reset-before", upstream: "resetting", answer: "ok", state: dead, class: "transient", message: notReached, attempts: 6, silent: true},
		{name: "timeout-before", upstream: "mute", answer: "ok", state: dead, class: "transient", message: notReached, attempts: 6, silent: true},
		{name: "tls", upstream: "untrusted", answer: "ok", state: dead, class: "config", message: unsafe, attempts: 1, silent: true},
		{name: "redirect-away", upstream: "i", answer: "redirect:http://elsewhere.test/", state: dead, class: "config", message: unsafe, attempts: 1},
	}
	for _, code := range []string{"68300005", "68300008", "67200100"} {
		rows = append(rows, row{name: code, answer: code + " forever", state: dead, class: "transient", code: code, message: passing, attempts: 6})
	}
	for _, status := range []string{"400", "404", "405", "406", "409", "410", "413", "415", "422"} {
		rows = append(rows, row{name: status, answer: "http:" + status, state: dropped, class: "bad_parameter", message: badRequest, attempts: 1})
	}
	for _, status := range []string{"408", "425", "500", "503"} {
		rows = append(rows, row{name: status, answer: "http:" + status + " forever", state: dead, class: "transient", message: passing, attempts: 6})
	}
	for _, status := range []string{"502", "520", "524"} {
		rows = append(rows, row{name: status + "-post", method: "POST", answer: "http:" + status, state: dead, class: "outcome_unknown", message: maybeDone, attempts: 1})
	}
	for _, answer := range []string{"html", "empty", "malformed", "cut"} {
		rows = append(rows,
			row{name: answer, answer: answer + " forever", state: dead, class: "protocol", message: unreadable, attempts: 3},
			row{name: answer + "-post", method: "POST", answer: answer, state: dead, class: "outcome_unknown", message: unreadPOST, attempts: 1})
	}
	for answer, upstream := range map[string]string{
		"67200001": "a", "67200002": "b", "67200007": "c", `67200000 message="over the limit"`: "d", "http:429 retry-after=1": "e",
		"67200004": "j", "http:403": "k",
	} {
		name := "park-" + strings.NewReplacer(" ", "", `"`, "", ":", "", "=", "").Replace(answer)
		rows = append(rows, row{name: name, upstream: upstream, answer: answer + "; ok", state: done, class: "ok", attempts: 1, parked: 1})
	}
	for answer, upstream := range map[string]string{"67200003": "f", "67200009": "f", "67200008": "g", "67200006": "g"} {
		rows = append(rows, row{name: answer, upstream: upstream, answer: answer, state: dead, class: "auth", code: answer, message: badKey, attempts: 1})
	}
	return append(rows,
		row{name: "401", upstream: "h", answer: "http:401", state: dead, class: "auth", message: badKey, attempts: 1},
		row{name: "402", upstream: "h", answer: "http:402", state: dead, class: "balance", message: noCredit, attempts: 1},
		row{name: "67200005", upstream: "i", answer: "67200005", state: dead, class: "balance", code: "67200005", message: noCredit, attempts: 1})
}

// handshake listens where TLS is expected, and resets each connection in the
// handshake, or says nothing.
func handshake(t *testing.T, resets bool) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 1))
				if resets {
					_ = conn.(*net.TCPConn).SetLinger(0)
					return
				}
				_, _ = io.Copy(io.Discard, conn) // until the client gives up
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		open.Wait()
	})
	return "https://" + l.Addr().String()
}

func TestEveryRowOfTheDecisionTableHasItsResult(t *testing.T) {
	t.Parallel()
	eachRedis(t, func(t *testing.T, h *home) {
		var script, calls strings.Builder
		rows := decisionTable()
		for _, r := range rows {
			method := r.method
			if method == "" {
				method = "GET"
			}
			upstream := r.upstream
			if upstream == "" {
				upstream = "main"
			}
			fmt.Fprintf(&script, "%s /%s -> %s\n", method, r.name, r.answer)
			fmt.Fprintf(&calls, `{"key":%q,"upstream":%q,"method":%q,"path":"/%s"}`+"\n", r.name, upstream, method, r.name)
		}
		sim := simapi.New(simapi.Config{Script: simapi.MustParseScript(script.String()), HangCap: 5e9})
		server := httptest.NewServer(sim)
		untrusted := httptest.NewTLSServer(sim)
		untrusted.Config.ErrorLog = nil
		t.Cleanup(func() {
			if err := sim.Close(); err != nil {
				t.Error(err)
			}
			server.Close()
			untrusted.Close()
		})
		h.write("quick.yaml", quick)
		config := "upstreams:\n"
		unreached := map[string]string{
			"untrusted": untrusted.URL, "resetting": handshake(t, true), "mute": handshake(t, false),
		}
		for _, name := range append([]string{"main", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "narrow", "slow"}, slices.Sorted(maps.Keys(unreached))...) {
			// Only where it is waited for is a time-out short: on a busy machine other
			// answers take their time.
			timeout, body := "30s", "1MiB"
			switch name {
			case "mute":
				timeout = "1s"
			case "slow":
				timeout = "3s"
			case "narrow":
				body = "4KiB"
			}
			config += fmt.Sprintf("  %s: {base_url: %q, policy: ./quick.yaml, timeout: %s, max_body: %s}\n", name, cmp.Or(unreached[name], server.URL), timeout, body)
		}
		h.write("callq.yaml", config)
		h.write("calls.jsonl", calls.String())

		h.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out.jsonl", "--quiet")
		results := map[string]tasks.Result{}
		for r, err := range tasks.ReadResults(strings.NewReader(h.read("out.jsonl"))) {
			if err != nil {
				t.Fatal(err)
			}
			if _, again := results[r.Key]; again {
				t.Errorf("%s: two lines", r.Key)
			}
			results[r.Key] = r
		}
		if len(results) != len(rows) {
			t.Errorf("%d lines out for %d calls", len(results), len(rows))
		}
		last := map[string]simapi.Call{}
		arrivals := map[string]int{}
		for _, c := range sim.Calls() {
			last[c.Path] = c
			arrivals[c.Path]++
		}
		for _, want := range rows {
			got := results[want.name]
			if got.State != want.state || got.Class != want.class || string(got.ErrorCode) != want.code ||
				got.UserMessage != want.message || got.Attempts != want.attempts || got.Parked < want.parked {
				t.Errorf("%s: got %s %s code %q %q attempts %d parked %d\nwant %+v", want.name, got.State, got.Class, got.ErrorCode,
					got.UserMessage, got.Attempts, got.Parked, want)
			}
			path := "/" + want.name
			if want.name == "redirect-within" {
				path = "/moved"
			}
			if id := last[path].Correlation; !want.silent && got.CorrelationID != id || want.silent && got.CorrelationID != "" {
				t.Errorf("%s: correlation id %q, want %q", want.name, got.CorrelationID, id)
			}
			failed := want.state == tasks.StateDead || want.state == tasks.StateDropped
			if failed != (got.Advice != "") {
				t.Errorf("%s: advice %q", want.name, got.Advice)
			}
			sends := want.attempts
			if strings.HasPrefix(want.name, "park-") {
				sends = 2
			}
			if unreached[want.upstream] == "" && arrivals["/"+want.name] != sends {
				t.Errorf("%s: arrived %d times, want %d", want.name, arrivals["/"+want.name], sends)
			}
		}

		before := sim.Stats().Arrivals
		h.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out.jsonl", "--quiet")
		if after := sim.Stats().Arrivals; after != before {
			t.Errorf("the second run made %d calls", after-before)
		}
	})
}
