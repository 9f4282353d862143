package simapi

import (
	"bytes"
	"encoding/xml"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// facts are what the templates of an API's headers and bodies can name, as ${name}.
type facts struct {
	id      string // of this request
	object  string // of what the call made; the same in an answer that is sent again
	made    time.Time
	now     time.Time
	method  string
	path    string
	message string
	wait    time.Duration
	token   string
	life    time.Duration
	meter   meter
}

// meter is where the account stands after a call, in the window of its quota.
type meter struct {
	counts      bool // false: no quota is configured, and the rest is made up
	limit, left int
	window      time.Duration
	end         time.Time // of the window
}

// What one call costs at an API that counts points, and how many points come back in a second.
const (
	pointsPerCall   = 10
	pointsPerSecond = 50
)

// values says what each name of a template stands for.
var values = map[string]func(facts) string{
	"id":      func(f facts) string { return f.id },
	"object":  func(f facts) string { return f.object },
	"method":  func(f facts) string { return f.method },
	"path":    func(f facts) string { return f.path },
	"message": func(f facts) string { return f.message },
	"token":   func(f facts) string { return f.token },
	"life":    func(f facts) string { return seconds(f.life) },

	// The time when the object was made.
	"made_epoch":    func(f facts) string { return strconv.FormatInt(f.made.Unix(), 10) },
	"made_iso":      func(f facts) string { return f.made.UTC().Format(time.RFC3339) },
	"made_rfc1123z": func(f facts) string { return f.made.UTC().Format(time.RFC1123Z) },

	// The limit's window.
	"limit":     func(f facts) string { return strconv.Itoa(f.meter.limit) },
	"left":      func(f facts) string { return strconv.Itoa(f.meter.left) },
	"used":      func(f facts) string { return strconv.Itoa(f.meter.limit - f.meter.left) },
	"window_ms": func(f facts) string { return strconv.FormatInt(f.meter.window.Milliseconds(), 10) },
	"near_limit": func(f facts) string {
		return strconv.FormatBool(f.meter.left*5 < f.meter.limit)
	},

	"low_left": func(f facts) string { // what is left, where it is little
		if f.meter.left*5 >= f.meter.limit {
			return ""
		}
		return ";r=" + strconv.Itoa(f.meter.left)
	},

	// When the window ends, and when the wait of a refusal ends; empty where that is not known. All are rounded up, so that
	// a client that waits so long is not early.
	"reset_seconds": func(f facts) string { return secondsText(f.untilReset()) },
	"reset_go":      func(f facts) string { return durationText(f.untilReset()) },
	"reset_epoch":   func(f facts) string { return epochText(f.now, f.untilReset()) },
	"reset_iso":     func(f facts) string { return isoText(f.now, f.untilReset()) },
	"wait_seconds":  func(f facts) string { return secondsText(f.wait) },
	"wait_ms":       func(f facts) string { return millisecondsText(f.wait) },
	"wait_go":       func(f facts) string { return durationText(f.wait) },
	"wait_epoch":    func(f facts) string { return epochText(f.now, f.wait) },
	"wait_iso":      func(f facts) string { return isoText(f.now, f.wait) },

	// A bucket of points that refills.
	"points":     func(facts) string { return strconv.Itoa(pointsPerCall) },
	"points_max": func(f facts) string { return strconv.Itoa(f.meter.limit * pointsPerCall) },
	"points_now": func(f facts) string { return strconv.Itoa(f.meter.left * pointsPerCall) },
	"wait_points": func(f facts) string {
		return strconv.Itoa(int(math.Ceil(f.wait.Seconds() * pointsPerSecond)))
	},
	"points_per_second": func(facts) string { return strconv.Itoa(pointsPerSecond) },
}

func (f facts) untilReset() time.Duration {
	return f.meter.end.Sub(f.now)
}

func secondsText(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return seconds(d)
}

func millisecondsText(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return strconv.FormatInt(ceil(d, time.Millisecond).Milliseconds(), 10)
}

func durationText(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return ceil(d, time.Millisecond).String()
}

func epochText(now time.Time, d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return strconv.FormatInt(wholeSecond(now.Add(d)).Unix(), 10)
}

func isoText(now time.Time, d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return wholeSecond(now.Add(d)).UTC().Format(time.RFC3339)
}

// wholeSecond is the first whole second that is not before t.
func wholeSecond(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); !whole.Equal(t) {
		return whole.Add(time.Second)
	}
	return t
}

func ceil(d, unit time.Duration) time.Duration {
	return (d + unit - 1) / unit * unit
}

// fill replaces the names of a template; quote makes a value safe for the place where it stands.
func (f facts) fill(template string, quote func(string) string) string {
	return os.Expand(template, func(name string) string {
		return quote(values[name](f)) // every template of a table is tested
	})
}

// setHeaders sets headers that are given as "Name: value", save those whose value comes out empty.
func (f facts) setHeaders(h http.Header, headers []string) {
	for _, line := range headers {
		name, template, _ := strings.Cut(line, ": ")
		if value := f.fill(template, oneLine); value != "" {
			h.Set(name, value)
		} else {
			h.Del(name)
		}
	}
}

func oneLine(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, text)
}

func inJSON(text string) string {
	quoted := plainJSON(text)
	return string(quoted[1 : len(quoted)-1])
}

func inXML(text string) string {
	var buf bytes.Buffer
	_ = xml.EscapeText(&buf, []byte(text)) // a bytes.Buffer takes everything
	return buf.String()
}

// body fills a reply's template for an answer of this kind.
func (f facts) body(a answer) body {
	r := a.reply
	b := body{kind: orElse(r.kind, "application/json")}
	quote := inJSON
	if strings.Contains(b.kind, "xml") {
		quote = inXML
	}
	text := f.fill(r.body, quote)
	switch a.kind {
	case kindMalformed:
		text = text[:len(text)/2]
	case kindBig:
		if strings.Contains(b.kind, "xml") {
			text, b.tail = text+"<!--", []byte("-->")
		} else {
			text, b.tail = strings.TrimSuffix(text, "}")+`,"padding":"`, []byte(`"}`)
		}
		b.head = []byte(text)
		b.pad = max(0, a.size-b.size())
	}
	b.head = []byte(text)
	return b
}

// answerFacts are the facts of an answer that is sent now.
func (s *Server) answerFacts(v visit, now time.Time) facts {
	f := facts{
		id: correlationID(s.prefix, v.seq), object: correlationID(s.prefix, v.seq), made: now, now: now,
		method: v.target.method, path: v.target.path, wait: v.answer.wait, meter: v.meter,
	}
	if v.replayOf != 0 {
		f.object, f.made = correlationID(s.prefix, v.replayOf), v.made
	}
	if !v.meter.counts {
		f.meter = meter{limit: s.api.limit, left: max(0, s.api.limit-1)}
	}
	f.message = v.answer.message
	if r := v.answer.reply; r != nil && f.message == r.message {
		f.message = f.fill(r.message, oneLine)
	}
	return f
}

// sendReply answers in the API's own way.
func (s *Server) sendReply(w http.ResponseWriter, v visit) {
	now := s.now()
	f := s.answerFacts(v, now)
	h := w.Header()
	f.setHeaders(h, s.api.headers)
	if v.meter.counts {
		f.setHeaders(h, s.api.limitHeaders)
	}
	if v.replayOf != 0 {
		h.Set("Idempotent-Replayed", "true")
		h.Set("Original-Request", correlationID(s.prefix, v.replayOf))
	}
	if v.answer.reply == nil {
		v.answer.send(w, now, v.answer.bodyOf(Envelope{}, nil))
		return
	}
	f.setHeaders(h, v.answer.reply.headers)
	v.answer.send(w, now, f.body(v.answer))
}
