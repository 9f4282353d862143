package ledger

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// State is where a call is on its way. The set is closed.
type State string

// The states.
const (
	Open      State = "open"
	Done      State = "done"
	Dead      State = "dead"
	Dropped   State = "dropped"
	Cancelled State = "cancelled"
)

// Ended tells whether the state is final until somebody redrives the call.
func (s State) Ended() bool { return s == Done || s == Dead || s == Dropped || s == Cancelled }

// Known tells whether it is a state that callq writes.
func (s State) Known() bool { return s == Open || s.Ended() }

// logLimit is how many attempts a record remembers.
const logLimit = 20

// Attempt is one line of a record's log: one send, or one decision not to send.
type Attempt struct {
	// At is when the request was sent, or the decision taken.
	At time.Time `json:"at"`
	// N is the attempt's number; a park repeats the number that it would have had.
	N int `json:"n"`
	// Job is what the policy decided: succeed, retry, park, dead_letter, drop.
	Job   string `json:"job"`
	Class string `json:"class"`
	Rule  string `json:"rule,omitempty"`
	// Status, Code and Transport say what came back.
	Status        int    `json:"status,omitempty"`
	Code          string `json:"code,omitempty"`
	Transport     string `json:"transport,omitempty"`
	CorrelationID string `json:"correlation_id,omitempty"`
	// Message is the beginning of what the API said, of an attempt that failed.
	Message string `json:"message,omitempty"`
	// Latency is the time from send to answer, in milliseconds.
	Latency int64 `json:"ms,omitempty"`
}

// Ending is how a call ended. The zero value of a field means that there was none.
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
	// BodyEncoding names the content codings that the record's body still has, as
	// they could not be undone.
	BodyEncoding string    `json:"body_encoding,omitempty"`
	Attempts     int       `json:"attempts"`
	Parked       int       `json:"parked"`
	FirstAt      time.Time `json:"first_at,omitzero"`
	FinishedAt   time.Time `json:"finished_at"`
}

// Former is an ending that a redrive has put aside.
type Former struct {
	Generation int    `json:"gen"`
	State      State  `json:"state"`
	Ending     Ending `json:"ending"`
}

// Record is everything that the ledger knows of one call.
type Record struct {
	ID, Queue string
	Batch     string
	// Key is the call's key in its batch, Hash the hash of its content.
	Key, Hash string
	State     State
	// Generation starts at 1 and grows with every redrive.
	Generation int
	// Content is the call as its codec wrote it; nil once purged.
	Content    []byte
	AcceptedAt time.Time
	// Starts counts how often a worker took the call since the last decision.
	Starts int
	// Alone counts those of the starts for which the worker made no other call.
	Alone            int
	Attempts, Parked int
	// FirstAt is the first send of this generation, zero before it.
	FirstAt time.Time
	// HeldBase is the account's total of held time at the first send, HeldOwn
	// what this call alone was held (by its endpoint's circuit).
	HeldBase, HeldOwn time.Duration
	ParkedAt          time.Time
	// Sent is the number of the attempt that may be on its way, or 0.
	Sent     int
	Log      []Attempt
	Lineage  []Former
	Ending   *Ending
	EndedAt  time.Time
	Group    string
	Body     []byte
	BodyType string
	Purged   bool
	// Freed tells that there was a body, which was freed once it had been exported.
	Freed bool
}

func recordFromHash(queue, id string, h map[string]string) Record {
	// The three that never change share a field: "HASH MILLISECONDS KEY".
	hash, rest, _ := strings.Cut(h["origin"], " ")
	at, key, _ := strings.Cut(rest, " ")
	r := Record{
		ID: id, Queue: queue, Batch: h["batch"], Key: key, Hash: hash,
		State: State(h["state"]), Generation: count(h["gen"]), AcceptedAt: redislua.Milli(at),
		Starts: max(count(h["starts"])-count(h["settled"]), 0), Attempts: count(h["attempts"]), Parked: count(h["parked"]),
		FirstAt: redislua.Milli(h["first"]), HeldBase: millis(h["held_base"]), HeldOwn: millis(h["held_own"]),
		ParkedAt: redislua.Milli(h["parked_at"]), Sent: count(h["sent"]), Group: groupName(h["group"]),
		BodyType: h["type"], Purged: h["purged"] == "1",
	}
	if since, rest, _ := strings.Cut(h["alone"], " "); since != "" && count(since) == count(h["settled"]) {
		_, n, _ := strings.Cut(rest, " ")
		r.Alone = count(n)
	}
	if c, ok := h["content"]; ok {
		r.Content = []byte(c)
	}
	if b, ok := h["body"]; ok {
		r.Body = []byte(b)
	}
	_, freed := h["freed"]
	r.Freed = freed && r.Body == nil
	if us := redislua.Integer(h["ended"]); us > 0 && us/1000 <= redislua.MaxMilli {
		r.EndedAt = time.UnixMicro(us).UTC()
	}
	// What was written by an older or newer version and does not parse is left
	// out: the states and counts above are what the books rest on.
	_ = json.Unmarshal([]byte(h["log"]), &r.Log)
	_ = json.Unmarshal([]byte(h["lineage"]), &r.Lineage)
	r.Lineage = slices.DeleteFunc(r.Lineage, func(f Former) bool { return !f.State.Ended() })
	if out := h["out"]; out != "" {
		r.Ending = new(Ending)
		_ = json.Unmarshal([]byte(out), r.Ending)
		r.Ending.FirstAt, r.Ending.FinishedAt = inCalendar(r.Ending.FirstAt), inCalendar(r.Ending.FinishedAt)
		// The ending has the last word; what the attempts before it left behind
		// is not written again.
		r.Attempts, r.Parked = max(r.Attempts, r.Ending.Attempts), max(r.Parked, r.Ending.Parked)
		if r.FirstAt.IsZero() {
			r.FirstAt = r.Ending.FirstAt
		}
	}
	return r
}

func appendLog(log []Attempt, a Attempt) []Attempt {
	log = append(log, a)
	if len(log) > logLimit {
		log = log[len(log)-logLimit:]
	}
	return log
}

// maxCount is more than any count of a record comes to. What is added to a
// count stays a count.
const maxCount = math.MaxInt32

// count reads a number of things: what is below zero, or no number, is none.
func count(s string) int { return int(min(max(redislua.Integer(s), 0), maxCount)) }

// millis reads a stretch of time that is no longer than the calendar.
func millis(s string) time.Duration {
	return time.Duration(min(max(redislua.Integer(s), 0), maxHeld.Milliseconds())) * time.Millisecond
}

// maxHeld is longer than any account was held, and far from overflowing where it
// is added to others.
const maxHeld = 100 * 365 * 24 * time.Hour

// inCalendar is the time in UTC, or none where only its zone had a year for it.
func inCalendar(at time.Time) time.Time {
	if at = at.UTC(); at.Year() < 0 || at.Year() > 9999 {
		return time.Time{}
	}
	return at
}
