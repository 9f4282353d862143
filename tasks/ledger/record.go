package ledger

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// State is the state of a call. The set is closed.
type State string

// The states.
const (
	Open      State = "open"
	Done      State = "done"
	Dead      State = "dead"
	Dropped   State = "dropped"
	Cancelled State = "cancelled"
)

// Ended reports whether the state is final until the call is redriven.
func (s State) Ended() bool { return s == Done || s == Dead || s == Dropped || s == Cancelled }

// Known reports whether it is a state that callq writes.
func (s State) Known() bool { return s == Open || s.Ended() }

// LogLimit is how many attempts a record keeps: the latest.
const LogLimit = 20

// Attempt is one line of a record's log: one send, or one decision not to send.
type Attempt struct {
	// At is when the request was sent, or when the decision was made.
	At time.Time `json:"at"`
	// N is the attempt's number; a park repeats the number that it would have had.
	N int `json:"n"`
	// Action is what the policy decided: succeed, retry, park, dead_letter, drop.
	Action string `json:"job"`
	Class  string `json:"class"`
	Rule   string `json:"rule,omitempty"`
	// Status, Code and Transport say what came back.
	Status        int    `json:"status,omitempty"`
	Code          string `json:"code,omitempty"`
	Transport     string `json:"transport,omitempty"`
	CorrelationID string `json:"correlation_id,omitempty"`
	// Message is the beginning of the API's error message, for an attempt that failed.
	Message string `json:"message,omitempty"`
	// Latency is the time from send to answer, in milliseconds.
	Latency int64 `json:"ms,omitempty"`
	// Decided is what the policy decided, where the circuit or the deadline made Action of
	// it; else it is empty.
	Decided string `json:"decided,omitempty"`
	// Held is for how long the answer held its circuit, in milliseconds; HeldEndpoint
	// reports that it was the endpoint's, not the account's.
	Held         int64 `json:"held_ms,omitempty"`
	HeldEndpoint bool  `json:"held_endpoint,omitempty"`
	// More is how many requests were sent besides one: more than 0 where redirects were
	// followed, -1 where nothing was sent.
	More int `json:"more,omitempty"`
	// Amount is what the answer cost according to the API. The line of the answer that
	// ended the call does not have it: see [Ending].
	Amount string `json:"amount,omitempty"`
	// Kept is what the policy could look at, as policy.Kept writes it, for an attempt that
	// failed.
	Kept json.RawMessage `json:"kept,omitempty"`
}

// Ending is how a call ended. A field without a value is zero.
type Ending struct {
	Class         string `json:"class"`
	Rule          string `json:"rule,omitempty"`
	HTTPStatus    int    `json:"status,omitempty"`
	Code          string `json:"code,omitempty"`
	Message       string `json:"message,omitempty"`
	Transport     string `json:"transport,omitempty"`
	CorrelationID string `json:"correlation_id,omitempty"`
	UserMessage   string `json:"user_message,omitempty"`
	Advice        string `json:"advice,omitempty"`
	Endpoint      string `json:"endpoint,omitempty"`
	Amount        string `json:"amount,omitempty"`
	// Headers are the answer's headers that results carry, by their configured names.
	Headers map[string]string `json:"headers,omitempty"`
	// BodyEncoding names the content codings that the record's body still has, since
	// they could not be decoded.
	BodyEncoding string `json:"body_encoding,omitempty"`
	// Verified reports that the answer is that of a request which asked whether the call
	// took effect.
	Verified   bool      `json:"verified,omitempty"`
	Attempts   int       `json:"attempts"`
	Parked     int       `json:"parked"`
	FirstAt    time.Time `json:"first_at,omitzero"`
	FinishedAt time.Time `json:"finished_at"`
}

// Former is the earlier ending of a call that was redriven.
type Former struct {
	Generation int    `json:"gen"`
	State      State  `json:"state"`
	Ending     Ending `json:"ending"`
	// RedrivenAt is when the call was redriven. It is zero if a version of callq did so that
	// did not count the requests of this generation: see [Earlier].
	RedrivenAt time.Time `json:"redriven_at,omitzero"`
}

// Record is everything that the ledger stores about one call.
type Record struct {
	ID, Queue string
	Batch     string
	// Key is the call's key in its batch, Hash the hash of its content.
	Key, Hash string
	State     State
	// Generation starts at 1 and grows with every redrive.
	Generation int
	// Content is the call as its codec wrote it; nil after a purge.
	Content    []byte
	AcceptedAt time.Time
	// Starts counts how often a worker took the call since the last decision.
	Starts int
	// Alone counts those of the starts during which the worker made no other call.
	Alone            int
	Attempts, Parked int
	// FirstAt is the first send of this generation, zero before it.
	FirstAt time.Time
	// HeldBase is the account's total held time at the first send; HeldOwn is for how
	// long this call alone was held (by its endpoint's circuit).
	HeldBase, HeldOwn time.Duration
	ParkedAt          time.Time
	// FreshKeys counts the fresh idempotency keys that decisions asked for: the next send
	// goes out under the key of that number.
	FreshKeys int
	// VerifyAsked counts the requests that asked the API whether the call took effect, and VerifyAbsent
	// those that did not find it.
	VerifyAsked, VerifyAbsent int
	// Sent is the number of the attempt that may have been sent without an answer yet,
	// or 0.
	Sent int
	Log  []Attempt
	// Earlier counts the requests that Log does not have.
	Earlier  Earlier
	Lineage  []Former
	Ending   *Ending
	EndedAt  time.Time
	Group    string
	Body     []byte
	BodyType string
	Purged   bool
	// Freed reports that there was a body, which was freed after it had been exported.
	Freed bool
}

// Size is how many bytes the content and the body have.
func (r *Record) Size() int { return len(r.Content) + len(r.Body) }

func recordFromHash(queue, id string, h hash) Record {
	// The three that never change share a field: "HASH MILLISECONDS KEY".
	digest, rest, _ := strings.Cut(h.get("origin"), " ")
	at, key, _ := strings.Cut(rest, " ")
	r := Record{
		ID: id, Queue: queue, Batch: h.get("batch"), Key: key, Hash: hashFrom(digest),
		State: State(h.get("state")), Generation: count(h.get("gen")), AcceptedAt: redislua.Milli(at),
		Starts: max(count(h.get("starts"))-count(h.get("settled")), 0), Attempts: count(h.get("attempts")), Parked: count(h.get("parked")),
		FirstAt: redislua.Milli(h.get("first")), HeldBase: millis(h.get("held_base")), HeldOwn: millis(h.get("held_own")),
		ParkedAt: redislua.Milli(h.get("parked_at")), Sent: count(h.get("sent")), FreshKeys: count(h.get("fresh_keys")), VerifyAsked: count(h.get("asked")), VerifyAbsent: count(h.get("absent")), Group: groupName(h.get("group")),
		BodyType: h.get("type"), Purged: h.get("purged") == "1",
	}
	if since, rest, _ := strings.Cut(h.get("alone"), " "); since != "" && count(since) == count(h.get("settled")) {
		_, n, _ := strings.Cut(rest, " ")
		r.Alone = count(n)
	}
	if c, ok := h.lookup("content"); ok {
		r.Content = []byte(c)
	}
	if b, ok := h.lookup("body"); ok {
		r.Body = []byte(b)
	}
	_, freed := h.lookup("freed")
	r.Freed = freed && r.Body == nil
	if us := redislua.Integer(h.get("ended")); us > 0 && us/1000 <= redislua.MaxMilli {
		r.EndedAt = time.UnixMicro(us).UTC()
	}
	// JSON of an older or newer version that does not parse is left out: the ledger
	// rests on the states and counts above.
	r.Log = listFrom[Attempt](h.get("log"))
	r.Lineage = listFrom[Former](h.get("lineage"))
	r.Earlier = earlierFrom(h.get("earlier"))
	r.Lineage = slices.DeleteFunc(r.Lineage, func(f Former) bool { return !f.State.Ended() })
	if out := h.get("out"); out != "" {
		r.Ending = new(Ending)
		readJSON(out, r.Ending)
		r.Ending.FirstAt, r.Ending.FinishedAt = inCalendar(r.Ending.FirstAt), inCalendar(r.Ending.FinishedAt)
		// The counts of the ending are the final ones: end.lua does not update those of
		// the record.
		r.Attempts, r.Parked = max(r.Attempts, r.Ending.Attempts), max(r.Parked, r.Ending.Parked)
		if r.FirstAt.IsZero() {
			r.FirstAt = r.Ending.FirstAt
		}
	}
	return r
}

// listFrom reads a list. Most records have none: nothing is allocated for them.
func listFrom[T any](text string) []T {
	if text == "" {
		return nil
	}
	list := new([]T)
	readJSON(text, list)
	return *list
}

// readJSON reads a field; an empty one changes nothing.
func readJSON(text string, to any) {
	if text != "" {
		_ = json.Unmarshal([]byte(text), to)
	}
}

// maxCount is larger than any count of a record. Adding to it does not overflow.
const maxCount = math.MaxInt32

// count parses a count; negative numbers and other text are 0.
func count(s string) int { return int(min(max(redislua.Integer(s), 0), maxCount)) }

// millis parses a duration in milliseconds, at most maxHeld.
func millis(s string) time.Duration {
	return time.Duration(min(max(redislua.Integer(s), 0), maxHeld.Milliseconds())) * time.Millisecond
}

// maxHeld is longer than any account was held, and small enough to be added to others
// without an overflow.
const maxHeld = 100 * 365 * 24 * time.Hour

// inCalendar returns the time in UTC, or the zero time if its year is valid only in its
// own zone.
func inCalendar(at time.Time) time.Time {
	if at = at.UTC(); at.Year() < 0 || at.Year() > 9999 {
		return time.Time{}
	}
	return at
}
