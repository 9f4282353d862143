package page

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// formLimit bounds a form.
const formLimit = 64 << 10

// refused is a change that cannot be made now, for people.
type refused struct{ what, next string }

func (r refused) Error() string { return r.what }

// action returns the handler of a form. It sends the browser back to the page with the
// result. do may return [moved] for another page.
func (p *Pages) action(do func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", contentSecurity)
		r.Body = http.MaxBytesReader(w, r.Body, formLimit)
		if err := r.ParseForm(); err != nil {
			p.failAction(w, r, http.StatusBadRequest, problem{"The form cannot be read.", "Load the page again and repeat the change."})
			return
		}
		err := do(w, r)
		var no refused
		switch {
		case errors.As(err, &no):
			p.failAction(w, r, http.StatusConflict, problem{no.what, no.next})
		case err != nil:
			p.fail(w, r, err)
		}
	})
}

func (p *Pages) failAction(w http.ResponseWriter, r *http.Request, status int, shown problem) {
	html, err := p.execute(r, "error", "Not changed", shown)
	if err != nil {
		p.log.Error("the error page cannot be written", "error", err)
		http.Error(w, shown.What, status)
		return
	}
	writeHTML(w, status, html)
}

// explainRefusal turns the ledger's refusals into what people are told.
func explainRefusal(err error) error {
	switch {
	case errors.Is(err, tasks.ErrBusy):
		return refused{"A worker is making this call.", "Try again in a minute."}
	case errors.Is(err, tasks.ErrPurged):
		return refused{"The call's content was purged, so it cannot be made again.", "Send it again from its source."}
	case errors.Is(err, tasks.ErrDone):
		return refused{"The call is done.", ""}
	case errors.Is(err, tasks.ErrOpen):
		return refused{"The call is open already.", ""}
	case errors.Is(err, tasks.ErrEnded):
		return refused{"The call has ended meanwhile.", ""}
	case errors.Is(err, tasks.ErrChanged):
		return refused{"The call changed meanwhile.", "Load the page again."}
	}
	return err
}

func (p *Pages) redriveCall(_ http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if err := p.cfg.Client.Redrive(r.Context(), id); err != nil {
		return explainRefusal(err)
	}
	p.changed(r, "a call was redriven", "call", id)
	return moved{"/calls/" + url.PathEscape(id)}
}

func (p *Pages) cancelCall(_ http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	why := tasks.Cancellation{Message: "cancelled on the status page by " + p.cfg.Who(r.Context())}
	if _, err := p.cfg.Client.Cancel(r.Context(), id, why); err != nil {
		return explainRefusal(err)
	}
	p.changed(r, "a call was cancelled", "call", id)
	return moved{"/calls/" + url.PathEscape(id)}
}

func (p *Pages) closeCircuit(_ http.ResponseWriter, r *http.Request) error {
	name, err := circuit.ParseName(r.PostForm.Get("name"))
	if err != nil {
		return refused{"The circuit has no valid name.", "Load the page again."}
	}
	reason := strings.TrimSpace(r.PostForm.Get("reason"))
	if reason == "" {
		return refused{"A reason is missing.", "Say why calls may start again, for example: invoice paid."}
	}
	if err := p.cfg.Circuits.Close(r.Context(), name, reason, p.cfg.Who(r.Context())); err != nil {
		return err
	}
	p.changed(r, "a circuit was closed", "circuit", name.String(), "reason", reason)
	return moved{"/"}
}

// changed logs a change and who made it.
func (p *Pages) changed(r *http.Request, what string, args ...any) {
	p.log.InfoContext(r.Context(), what, append(args, "who", p.cfg.Who(r.Context()))...)
}

func (p *Pages) redriveGroup(_ http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("group")
	g, err := p.group(r.Context(), name)
	if err != nil {
		return err
	}
	if g.Class == doubtful && r.PostForm.Get("sure") == "" {
		return refused{"These calls may have taken effect already.", "Tick the box if they may be made a second time."}
	}
	var pace tasks.Pace
	if text := strings.TrimSpace(r.PostForm.Get("rate")); text != "" {
		rate, err := strconv.Atoi(text)
		if err != nil || rate < 1 || rate > 10_000 {
			return refused{"The rate must be a number of calls a second, from 1 to 10000.", "Leave it empty for as fast as Redis."}
		}
		pace.Every = time.Second / time.Duration(rate)
	}
	if !p.redrives.begin(p.ctx, p.cfg.Client, name, g.Count, pace) {
		return refused{"This group is being redriven already, or too many others are.", "Wait until it ends."}
	}
	p.changed(r, "a group of dead letters is redriven", "group", name, "calls", g.Count)
	return moved{"/dead/" + url.PathEscape(name)}
}

// redrives are the redrives that this process makes, and the last one of each group. The
// zero value has none.
type redrives struct {
	mu    sync.Mutex
	by    map[string]*progress
	under int
}

const (
	// mostRedrives is how many groups are redriven at once.
	mostRedrives = 4
	// rememberedRedrives is how many ended ones are remembered.
	rememberedRedrives = 100
)

// progress is how far a redrive is.
type progress struct {
	Began, Ended     time.Time // Ended is zero while it is under way
	Of, Done, Failed int64
	// Trouble says why it ended early.
	Trouble string
}

// of returns a copy of the last redrive of a group; nil if there was none.
func (r *redrives) of(group string) *progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one := r.by[group]; one != nil {
		copied := *one
		return &copied
	}
	return nil
}

// begin begins to redrive a group. It returns false if the group is being redriven, or too
// many others are.
func (r *redrives) begin(ctx context.Context, client *tasks.Client, group string, of int64, pace tasks.Pace) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.by[group]
	if r.under >= mostRedrives || last != nil && last.Ended.IsZero() {
		return false
	}
	if r.by == nil || len(r.by) >= rememberedRedrives {
		r.forget()
	}
	one := &progress{Began: time.Now(), Of: of}
	r.by[group] = one
	r.under++
	pace.OnCall = func(_ string, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if err != nil {
			one.Failed++
		} else {
			one.Done++
		}
	}
	go func() {
		_, err := client.RedriveAll(ctx, tasks.DeadFilter{Group: group}, pace)
		r.mu.Lock()
		defer r.mu.Unlock()
		one.Ended = time.Now()
		r.under--
		if err != nil {
			one.Trouble = fmt.Sprintf("it stopped after %d calls: Redis does not answer, or this process ends", one.Done)
		}
	}()
	return true
}

// forget forgets the redrives that have ended.
func (r *redrives) forget() {
	kept := map[string]*progress{}
	for group, one := range r.by {
		if one.Ended.IsZero() {
			kept[group] = one
		}
	}
	r.by = kept
}
