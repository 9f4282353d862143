package ledger

import (
	"encoding/json"
	"slices"

	"github.com/seed-2903acc3/callq/internal/decimal"
)

// Earlier counts the requests of a call that its log does not have: those of lines that
// the log has lost, those of earlier generations, and those whose answer only caused the
// same attempt to be sent again with a fresh credential. Together with the log it has
// every request. The zero value has none.
type Earlier struct {
	Requests []Counted `json:"requests,omitempty"`
	// Maybe is how many more requests may have been sent: workers took the call and ended
	// before they recorded what became of it.
	Maybe int `json:"maybe,omitempty"`
	// Whole reports that a purge or a redrive has counted the log before it was removed.
	Whole bool `json:"whole,omitempty"`
}

// Counted are requests with the same answer and the same consequence.
type Counted struct {
	Requests int `json:"n"`
	// Action is what was decided, as in [Attempt], or [ActionReplay].
	Action string `json:"job"`
	// Decided, Class, Rule, Status, Code and Transport are as in [Attempt].
	Decided   string `json:"decided,omitempty"`
	Class     string `json:"class,omitempty"`
	Rule      string `json:"rule,omitempty"`
	Status    int    `json:"status,omitempty"`
	Code      string `json:"code,omitempty"`
	Transport string `json:"transport,omitempty"`
	// Redirects is how many of the requests were answered by a redirect, which was
	// followed.
	Redirects int `json:"redirects,omitempty"`
	// Amount is the sum of what they cost according to the API; empty if it said nothing.
	// Priced is how many answers said so.
	Amount string `json:"amount,omitempty"`
	Priced int    `json:"priced,omitempty"`
}

// ActionReplay is the action of a request that was sent again, as a part of the same
// attempt, with a fresh credential.
const ActionReplay = "replay"

// maxKinds bounds how many different answers a record counts: an API can invent codes.
const maxKinds = 16

// notSent are the transport errors of requests of which nothing was sent.
var notSent = []string{"dns", "dial", "reset_before_send", "timeout_before_send"}

// Requests returns how many requests the line is about: usually one, none if nothing was
// sent, and more if redirects were followed.
func (a Attempt) Requests() int {
	if a.At.IsZero() || a.More == 0 && slices.Contains(notSent, a.Transport) {
		return 0
	}
	return max(1+a.More, 0)
}

// Redirects returns how many of its requests were answered by a redirect, which was
// followed.
func (a Attempt) Redirects() int { return max(a.Requests()-1, 0) }

// Counted returns what the line adds to an [Earlier]. amount is what the answer cost
// according to the API; empty: what the line has.
func (a Attempt) Counted(amount string) Counted {
	c := Counted{
		Requests: a.Requests(), Action: a.Action, Decided: a.Decided, Class: a.Class, Rule: a.Rule, Status: a.Status, Code: a.Code,
		Transport: a.Transport, Redirects: a.Redirects(),
	}
	if amount == "" {
		amount = a.Amount
	}
	if sum := (decimal.Sum{}); sum.Add(amount) {
		c.Amount, c.Priced = sum.String(), 1
	}
	return c
}

// With returns e with more requests. It does not change e.
func (e Earlier) With(c Counted) Earlier {
	if c.Requests == 0 {
		return e
	}
	e.Requests = slices.Clone(e.Requests)
	i := slices.IndexFunc(e.Requests, func(o Counted) bool { return o.kind() == c.kind() })
	if i < 0 && len(e.Requests) >= maxKinds {
		// The last entry then has all other answers.
		i = maxKinds - 1
		e.Requests[i] = Counted{
			Requests: e.Requests[i].Requests, Action: e.Requests[i].Action, Redirects: e.Requests[i].Redirects,
			Amount: e.Requests[i].Amount, Priced: e.Requests[i].Priced,
		}
	}
	if i < 0 {
		e.Requests = append(e.Requests, c)
		return e
	}
	to := &e.Requests[i]
	to.Requests += c.Requests
	to.Redirects += c.Redirects
	to.Priced += c.Priced
	var sum decimal.Sum
	sum.Add(to.Amount)
	sum.Add(c.Amount)
	to.Amount = sum.String()
	return e
}

// kind is what entries that are counted together have in common.
func (c Counted) kind() Counted {
	c.Requests, c.Redirects, c.Amount, c.Priced = 0, 0, "", 0
	return c
}

// empty reports whether there is nothing to write.
func (e Earlier) empty() bool { return len(e.Requests) == 0 && e.Maybe == 0 && !e.Whole }

// encode returns the text of the record's field, or "" for none.
func (e Earlier) encode() string {
	if e.empty() {
		return ""
	}
	text, err := json.Marshal(e)
	if err != nil {
		return "" // cannot happen: it has only texts and numbers
	}
	return string(text)
}

// earlierFrom reads what encode wrote. Values that callq never writes are left out.
func earlierFrom(text string) Earlier {
	if text == "" {
		return Earlier{} // before e is allocated
	}
	var e Earlier
	if json.Unmarshal([]byte(text), &e) != nil {
		return Earlier{}
	}
	e.Requests = slices.DeleteFunc(e.Requests, func(c Counted) bool {
		return c.Requests <= 0 || c.Requests > maxCount || c.Redirects < 0 || c.Redirects > c.Requests || c.Priced < 0 || c.Priced > c.Requests
	})
	e.Requests = e.Requests[:min(len(e.Requests), maxKinds)]
	e.Maybe = min(max(e.Maybe, 0), maxCount)
	return e
}

// folded returns the record's Earlier with all requests of its log, which is about to be
// removed.
func (r *Record) folded() Earlier {
	e := r.Earlier
	e.Whole = true
	for i, line := range r.Log {
		amount := ""
		if i == len(r.Log)-1 && r.Ending != nil {
			amount = r.Ending.Amount // the last line is about the answer that ended the call
		}
		e = e.With(line.Counted(amount))
	}
	return e
}

// NoteReplayed counts a request whose answer only caused the attempt to be sent again
// with a fresh credential. It is written with what becomes of the attempt.
func (t *Delivery) NoteReplayed(a Attempt) {
	a.Action = ActionReplay
	t.Earlier = t.Earlier.With(a.Counted(""))
}

// earlierWith returns the Earlier to write with a log to which a line was added: with the
// line that the log then loses, and with the requests that earlier workers may have sent.
func (t *Delivery) earlierWith(added bool) Earlier {
	e := t.Earlier
	if added && len(t.Log) >= LogLimit {
		for _, lost := range t.Log[:len(t.Log)+1-LogLimit] {
			e = e.With(lost.Counted(""))
		}
	}
	e.Maybe += t.MaybeSent
	return e
}
