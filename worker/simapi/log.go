package simapi

import (
	"fmt"
	"maps"
	"net/http"
	"time"
)

// Stats is what a Server has seen since it started or was reset. ByAnswer names answers as a script writes them (ok,
// 68300008, 67200003@401, http:503, hang…), and "token" or "token-refused" at the OAuth endpoint.
type Stats struct {
	Arrivals      int64            `json:"arrivals"`
	Worked        int64            `json:"worked"` // calls whose work was done, whether or not the client learnt of it
	InFlight      int              `json:"in_flight"`
	MaxConcurrent int              `json:"max_concurrent"`
	TokensIssued  int64            `json:"tokens_issued"`
	ByAnswer      map[string]int64 `json:"by_answer"` // counted once the answer is chosen, before any latency
	ByPath        map[string]int64 `json:"by_path"`   // arrivals; from the 10,000th path on under "(other)"
	First         time.Time        `json:"first_at,omitzero"`
	Last          time.Time        `json:"last_at,omitzero"` // of arrivals
	Charged       float64          `json:"charged"`          // of the Balance
	LogDropped    int64            `json:"log_dropped"`      // calls that the log has let go
}

// Call is one arrival. Values of credentials are neither in the query nor in the headers.
type Call struct {
	Seq         int64             `json:"seq"` // from 1; a reset does not start it over
	At          time.Time         `json:"at"`
	Method      string            `json:"method"`
	Path        string            `json:"path"`            // as on the wire
	Query       string            `json:"query,omitempty"` // sorted by name
	Headers     map[string]string `json:"headers,omitempty"`
	Auth        AuthState         `json:"auth"`
	BodyBytes   int64             `json:"body_bytes"`
	BodySHA256  string            `json:"body_sha256,omitempty"` // 16 hexadecimal digits; none for an empty body or a token request
	Answer      string            `json:"answer"`
	Status      int               `json:"status,omitempty"` // HTTP status; 0 when the answer is none
	Correlation string            `json:"correlation_id"`
	Done        time.Time         `json:"done_at,omitzero"`
	ClientGone  bool              `json:"client_gone,omitempty"` // the client left while it waited
}

const (
	maxPaths   = 10_000
	otherPaths = "(other)"
	maxField   = 2 << 10 // bytes of a path, query or header that the log keeps
)

// entry is a Call as the log keeps it; a million of them are to fit into memory.
type entry struct {
	seq, at, done int64 // times in nanoseconds since 1970; done 0: not yet
	method        string
	path, query   string
	answer        string
	auth          AuthState
	headers       map[string]string
	bodyBytes     int64
	bodySum       uint64 // the first 8 bytes of its SHA-256; 0: none
	status        int16
	gone          bool
}

// book counts and logs. The Server's mutex guards it.
type book struct {
	stats   Stats
	cap     int
	seq     int64   // of the newest arrival; never starts over, so that a late answer cannot meet another call's entry
	base    int64   // seq at the last reset
	entries []entry // a ring once it has cap entries
}

func newBook(limit int, base int64) book {
	return book{cap: limit, seq: base, base: base, stats: Stats{ByAnswer: map[string]int64{}, ByPath: map[string]int64{}}}
}

// arrive begins an entry and gives it its number.
func (b *book) arrive(now time.Time, e entry) (seq int64) {
	b.seq++
	e.seq, e.at = b.seq, now.UnixNano()
	st := &b.stats
	st.Arrivals++
	st.InFlight++
	st.MaxConcurrent = max(st.MaxConcurrent, st.InFlight)
	if st.First.IsZero() {
		st.First = now
	}
	st.Last = now
	path := e.path
	if _, known := st.ByPath[path]; !known && len(st.ByPath) >= maxPaths {
		path = otherPaths
	}
	st.ByPath[path]++
	if len(b.entries) < b.cap {
		b.entries = append(b.entries, e)
	} else {
		b.entries[b.at(e.seq)] = e
		st.LogDropped++
	}
	return e.seq
}

func (b *book) at(seq int64) int {
	return int((seq - b.base - 1) % int64(b.cap))
}

// entry returns a call that is still in the log, or nil.
func (b *book) entry(seq int64) *entry {
	if seq <= b.base {
		return nil
	}
	if i := b.at(seq); i < len(b.entries) && b.entries[i].seq == seq {
		return &b.entries[i]
	}
	return nil
}

// answered names the answer of a call.
func (b *book) answered(seq int64, a answer) {
	if seq > b.base {
		b.stats.ByAnswer[a.label]++
	}
	if e := b.entry(seq); e != nil {
		e.answer = a.label
		if a.onTheWire() {
			e.status = int16(a.httpStatus())
		}
	}
}

// reset starts over. Calls in flight stay in flight; their entries are gone.
func (b *book) reset() {
	inFlight := b.stats.InFlight
	*b = newBook(b.cap, b.seq)
	b.stats.InFlight, b.stats.MaxConcurrent = inFlight, inFlight
}

func (b *book) snapshot() Stats {
	st := b.stats
	st.ByAnswer, st.ByPath = maps.Clone(st.ByAnswer), maps.Clone(st.ByPath)
	return st
}

// after returns at most n entries with greater sequence numbers, oldest first.
func (b *book) after(seq int64, n int) []entry {
	seq = max(seq, b.seq-int64(len(b.entries)))
	out := make([]entry, 0, min(int64(n), max(0, b.seq-seq)))
	for s := seq + 1; s <= b.seq && len(out) < n; s++ {
		out = append(out, *b.entry(s))
	}
	return out
}

// since counts the logged arrivals at or after t.
func (b *book) since(t time.Time) int {
	n := 0
	for s := b.seq; n < len(b.entries) && b.entry(s).at >= t.UnixNano(); s-- {
		n++
	}
	return n
}

// call spells an entry out.
func (e entry) call(prefix string) Call {
	c := Call{
		Seq: e.seq, At: time.Unix(0, e.at).UTC(), Method: e.method, Path: e.path, Query: e.query, Headers: e.headers,
		Auth: e.auth, BodyBytes: e.bodyBytes, Answer: e.answer, Status: int(e.status),
		Correlation: correlationID(prefix, e.seq), ClientGone: e.gone,
	}
	if e.bodySum != 0 {
		c.BodySHA256 = fmt.Sprintf("%016x", e.bodySum)
	}
	if e.done != 0 {
		c.Done = time.Unix(0, e.done).UTC()
	}
	return c
}

func correlationID(prefix string, seq int64) string {
	return fmt.Sprintf("%s-%06d", prefix, seq)
}

// loggedHeaders are the headers that tell something about a call and carry no credential.
var loggedHeaders = []string{"Idempotency-Key", "Content-Type", "Content-Encoding", "Traceparent"}

func pickHeaders(h http.Header, names []string) map[string]string {
	var out map[string]string
	for _, name := range names {
		if v := h.Get(name); v != "" {
			if out == nil {
				out = map[string]string{}
			}
			out[name] = shorten(v)
		}
	}
	return out
}

func shorten(text string) string {
	return text[:min(len(text), maxField)]
}
