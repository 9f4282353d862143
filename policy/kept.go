package policy

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/internal/plaintext"
	"github.com/seed-2903acc3/callq/policy/place"
)

const (
	// maxKept is how many bytes of JSON a [Kept] takes at most.
	maxKept = 1536
	// maxKeptMessage is how many bytes of the API's message it has at most.
	maxKeptMessage = 512
)

// Kept is what a record keeps of an attempt that failed, so that another policy can judge
// it later: what the policy could look at. In JSON it has at most 1536 bytes.
type Kept struct {
	Status  int    `json:"status,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	Flag    Flag   `json:"flag,omitempty"`
	Body    Body   `json:"body,omitempty"`
	// Header has the headers that the policy names anywhere, and those that say when to
	// call again.
	Header http.Header `json:"header,omitempty"`
	// Found is [Outcome.Found].
	Found map[string][]string `json:"found,omitempty"`
	// Partial reports that not all of it fitted.
	Partial bool `json:"partial,omitempty"`
	// Looked stands for what the policy looks at: how it reads the code, the message and the
	// success flag, and the places and headers that it names. So [DecideRecorded]
	// knows whether the answer did not have something, or nobody looked for it.
	Looked string `json:"looked,omitempty"`
	// Age is [Attempt.Age], in milliseconds.
	Age         int64 `json:"age,omitempty"`
	Idempotent  bool  `json:"idempotent,omitempty"`
	Conditional bool  `json:"conditional,omitempty"`
}

// Kept returns what a record keeps of an attempt. It copies what it keeps.
func (p *Policy) Kept(o Outcome, a Attempt) Kept {
	k := Kept{
		Status: o.Status, Code: o.Code, Flag: o.Flag, Body: o.Body,
		Age: wholeMillis(a.Age), Idempotent: a.Idempotent, Conditional: a.Conditional, Looked: p.looked,
	}
	if k.Message = plaintext.Clean(o.Message, maxKeptMessage); len(o.Message) > maxKeptMessage {
		k.Partial = true
	}
	if k.Flag == FlagAbsent {
		k.Flag = ""
	}
	room := maxKept - len(`,"header":{},"found":{},"partial":true`) - jsonSize(k)
	if room < 0 { // a message of control characters and the like
		k.Message, k.Partial = "", true
		room = maxKept - len(`,"header":{},"found":{},"partial":true`) - jsonSize(k)
	}
	fits := func(name string, values []string) bool {
		size := jsonSize(name) + jsonSize(values) + len(":,")
		if size > room {
			k.Partial = true
			return false
		}
		room -= size
		return true
	}
	k.keepHeaders(p.headersToKeep(o.Header), o.Header, fits)
	for _, at := range slices.Sorted(maps.Keys(o.Found)) {
		if values := o.Found[at]; fits(at, values) {
			if k.Found == nil {
				k.Found = map[string][]string{}
			}
			k.Found[at] = slices.Clone(values)
		}
	}
	return k
}

// KeptOfSuccess returns what a record keeps of an attempt that succeeded: headers. It is
// nil unless rules of p look at headers of such answers; their bodies are kept as
// results.
func KeptOfSuccess(p *Policy, o Outcome, a Attempt) *Kept {
	if !p.keepsGood {
		return nil
	}
	o.Found, o.Message = nil, ""
	k := p.Kept(o, a)
	return &k
}

func (k *Kept) keepHeaders(names []string, h http.Header, fits func(name string, values []string) bool) {
	for _, name := range names {
		if values := h[name]; fits(name, values) {
			if k.Header == nil {
				k.Header = http.Header{}
			}
			k.Header[name] = slices.Clone(values)
		}
	}
}

// wholeMillis rounds up, so that an age over a limit of whole milliseconds stays over it.
func wholeMillis(d time.Duration) int64 {
	return (d + time.Millisecond - 1).Milliseconds()
}

func jsonSize(v any) int {
	data, err := json.Marshal(v)
	if err != nil {
		return maxKept
	}
	return len(data)
}

// headersToKeep returns the names of the headers of h that a record keeps: first those
// that the policy names.
func (p *Policy) headersToKeep(h http.Header) []string {
	if len(h) == 0 {
		return nil
	}
	var named, times []string
	for name := range h {
		switch {
		case slices.Contains(p.namedHeaders, name):
			named = append(named, name)
		case name == "Date" || saysWhen(name):
			times = append(times, name)
		}
	}
	slices.Sort(named)
	slices.Sort(times)
	return append(named, times...)
}

// saysWhen reports whether a header, by its canonical name, may say when to call again.
func saysWhen(name string) bool {
	for i := range retryAfterFields {
		if retryAfterFields[i].name == name {
			return true
		}
	}
	_, part := rateLimitName(name)
	return part != noPart
}

// Outcome returns the outcome that was kept. Transport, CorrelationID and ReceivedAt are
// for the caller to set.
func (k Kept) Outcome() Outcome {
	o := Outcome{Status: k.Status, Code: k.Code, Message: k.Message, Flag: k.Flag, Body: k.Body, Header: k.Header, Found: k.Found}
	if o.Flag == "" {
		o.Flag = FlagAbsent
	}
	return o
}

// Attempt returns what was kept of the attempt. Method, Endpoint and N are for the caller
// to set.
func (k Kept) Attempt() Attempt {
	return Attempt{Age: time.Duration(k.Age) * time.Millisecond, Idempotent: k.Idempotent, Conditional: k.Conditional}
}

// Places returns the places of an answer that a policy's rules, backoffs, holds and
// limits name, as a policy file writes them, sorted. Of a header the whole is named.
func Places(p *Policy) []string {
	var names []string
	for _, at := range p.namedPlaces() {
		if name := at.String(); at.Header() == "" {
			names = append(names, name)
		} else {
			names = append(names, headerText(at.Header()))
		}
	}
	for i := range p.rules {
		for _, h := range p.rules[i].match.headers {
			names = append(names, headerText(h.name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// namedPlaces returns the places that rules, backoffs, holds and limits name, without
// those of read.
func (p *Policy) namedPlaces() []place.Place {
	var named []place.Place
	for i := range p.rules {
		for _, w := range p.rules[i].match.where {
			named = append(named, w.at)
		}
	}
	named = append(named, p.waitPlaces()...)
	for _, pace := range p.paces {
		named = append(named, pace.places()...)
	}
	return slices.DeleteFunc(named, place.Place.IsZero)
}

// nameHeaders collects the headers that the joined policy names.
func (p *Policy) nameHeaders() {
	for _, at := range append(p.namedPlaces(), p.reading.all()...) {
		if at.Header() != "" {
			p.namedHeaders = append(p.namedHeaders, at.Header())
		}
	}
	for i := range p.rules {
		for _, h := range p.rules[i].match.headers {
			p.namedHeaders = append(p.namedHeaders, h.name)
		}
	}
	slices.Sort(p.namedHeaders)
	p.namedHeaders = slices.Compact(p.namedHeaders)
}
