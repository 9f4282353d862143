package admin

import (
	"bytes"
	"cmp"
	_ "embed"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// pageBatches is how many batches the page shows, the newest.
const pageBatches = 50

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"grouped": grouped, "when": when, "left": left, "limit": limitHold,
}).Parse(pageSource))

// pageData is what the page shows; Now is Redis's clock.
type pageData struct {
	Now      time.Time
	Batches  []ledger.Batch
	More     int
	Circuits []circuit.Record
	Waits    []string
}

// page writes the status page.
func (h *handler) page(w http.ResponseWriter, r *http.Request) {
	batches, err := h.cfg.Ledger.Batches(r.Context())
	if err != nil {
		h.unavailable(w, "read the batches", err)
		return
	}
	circuits, err := h.cfg.Circuits.List(r.Context(), h.cfg.Upstreams)
	if err != nil {
		h.unavailable(w, "read the circuits", err)
		return
	}
	now, err := h.cfg.Redis.Time(r.Context()).Result()
	if err != nil {
		h.unavailable(w, "read Redis's clock", err)
		return
	}
	facts, err := waiting.Read(r.Context(), h.cfg.Redis, waiting.Query{Configured: h.cfg.Concurrency, MaxMemory: h.cfg.MaxMemory})
	if err != nil {
		h.unavailable(w, "read why calls wait", err)
		return
	}
	data := pageData{Now: now, Circuits: circuits}
	for _, reason := range waiting.Decide(facts) {
		data.Waits = append(data.Waits, reason.Text(facts.Now))
	}
	slices.Reverse(batches)
	data.More = max(len(batches)-pageBatches, 0)
	data.Batches = batches[:len(batches)-data.More]
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, data); err != nil {
		h.unavailable(w, "write the page", err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // an error means that the client has gone
}

func (h *handler) unavailable(w http.ResponseWriter, what string, err error) {
	h.log.Warn("the admin server cannot "+what, "error", err)
	writeText(w, http.StatusServiceUnavailable, "cannot "+what+" now; see the log")
}

// grouped writes a number with commas between the thousands.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func when(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// left returns how long a hold still lasts.
func left(until, now time.Time) string {
	if d := until.Sub(now).Round(time.Second); d > 0 {
		return "for " + d.String()
	}
	return "until a probe succeeds"
}

// limitHold returns the limit or the budget that holds an account, and for how long; nil
// if none does.
func limitHold(r circuit.Record, now time.Time) *limited {
	if !now.Before(r.Limited) {
		return nil
	}
	return &limited{
		By: cmp.Or(r.LimitedBy, "limit"), Text: r.LimitedText,
		// A rate holds for less than a second.
		Left: "for " + max(r.Limited.Sub(now).Round(time.Second), time.Second).String(),
	}
}

// limited is a hold by a limit or a budget. It ends without a probe.
type limited struct{ By, Text, Left string }
