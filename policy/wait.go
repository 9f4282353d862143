package policy

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy/place"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// waitFormat is the format of a value that says when to call again. The empty one detects
// by form and size whether the value is a wait or a time, as ratelimit-reset does.
type waitFormat string

const (
	formatSeconds      waitFormat = "seconds"
	formatMilliseconds waitFormat = "milliseconds"
	formatDuration     waitFormat = "duration"
	formatEpoch        waitFormat = "epoch"
	formatEpochMillis  waitFormat = "epoch_ms"
	formatRFC3339      waitFormat = "rfc3339"
	formatHTTPDate     waitFormat = "http_date"
)

var waitFormats = []waitFormat{formatSeconds, formatMilliseconds, formatDuration, formatEpoch, formatEpochMillis, formatRFC3339, formatHTTPDate}

// answerWait is an entry of sources that names a place of the answer: one that says
// when to call again, or three that describe a bucket which refills.
type answerWait struct {
	from place.Place
	// message: the API's message is read in place of from.
	message bool
	// find is applied to each value; its first group is read. nil: the whole value is.
	find   *regexp.Regexp
	format waitFormat
	// inBody is from with find, where from is the text of the body: all of it is searched,
	// but only what is found is kept.
	inBody place.Place
	// need, have and perSecond describe a bucket: the wait is (need-have)/perSecond.
	need, have, perSecond place.Place
}

func (w *answerWait) isBucket() bool { return !w.need.IsZero() }

// wait is how long after the answer o arrived to call again; false where the answer does
// not say. It may be zero or negative, as the server said. Of several values the longest
// wait counts.
func (w *answerWait) wait(o *Outcome) (longest time.Duration, found bool) {
	if w.isBucket() {
		return w.refill(o)
	}
	server := serverNow(o.Header, o.ReceivedAt)
	for _, text := range w.texts(o) {
		part, ok := w.part(text)
		if !ok {
			continue
		}
		if wait, ok := w.format.read(part, server); ok && (!found || wait > longest) {
			longest, found = wait, true
		}
	}
	return longest, found
}

// part returns what find selects of a text; false, with the text, where it matches nothing.
func (w *answerWait) part(text string) (string, bool) {
	if w.find == nil || !w.inBody.IsZero() {
		return text, true
	}
	groups := w.find.FindStringSubmatch(text)
	if groups == nil {
		return text, false
	}
	return groups[min(1, len(groups)-1)], true
}

func (w *answerWait) texts(o *Outcome) []string {
	if w.message {
		return []string{o.Message}
	}
	return textsAt(w.place(), o)
}

// place is where the value is.
func (w *answerWait) place() place.Place {
	if !w.inBody.IsZero() {
		return w.inBody
	}
	return w.from
}

// textsAt gives what the answer says at a place that the policy keeps.
func textsAt(at place.Place, o *Outcome) []string {
	if at.Header() != "" {
		return at.InHeader(o.Header)
	}
	return o.Found[at.String()]
}

// refill is how long a bucket takes until it holds what a call needs.
func (w *answerWait) refill(o *Outcome) (time.Duration, bool) {
	need, ok1 := numberAt(w.need, o)
	have, ok2 := numberAt(w.have, o)
	rate, ok3 := numberAt(w.perSecond, o)
	if !ok1 || !ok2 || !ok3 || rate <= 0 || need <= have {
		return 0, false
	}
	return saturatingSeconds((need - have) / rate), true
}

// saturatingSeconds is a duration of so many seconds, held to the longest there is.
func saturatingSeconds(seconds float64) time.Duration {
	if seconds >= float64(math.MaxInt64/int64(time.Second)) {
		return math.MaxInt64
	}
	return time.Duration(seconds * float64(time.Second))
}

// numberAt reads the first number at a place.
func numberAt(at place.Place, o *Outcome) (float64, bool) {
	for _, text := range textsAt(at, o) {
		n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) {
			return n, true
		}
	}
	return 0, false
}

// read reads one value; server is the server's clock, for points in time.
func (format waitFormat) read(s string, server time.Time) (time.Duration, bool) {
	s = strings.Trim(s, "\" \t")
	if len(s) > maxField {
		return 0, false
	}
	switch format {
	case formatDuration:
		return readDuration(s)
	case formatRFC3339:
		at, err := time.Parse(time.RFC3339Nano, s)
		return at.Sub(server), err == nil
	case formatHTTPDate:
		at, ok := readDate(s, server)
		return at.Sub(server), ok
	case "":
		return longestWait([]string{s}, server, waitOrEpoch)
	}
	n, ok := readDecimal(s)
	if !ok {
		return 0, false
	}
	switch format {
	case formatMilliseconds:
		return n.milliseconds(), true
	case formatEpoch:
		return sinceEpoch(n, time.Second, server), true
	case formatEpochMillis:
		return sinceEpoch(n, time.Millisecond, server), true
	default:
		return n.seconds(), true
	}
}

// sinceEpoch is the wait until so many units after 1970.
func sinceEpoch(n decimal, unit time.Duration, server time.Time) time.Duration {
	return time.Unix(0, 0).Add(n.times(unit)).Sub(server)
}

// readSource reads one entry of sources: a name among those that are allowed, or a
// mapping that names a place of the answer. Such an entry is known by its YAML.
func (f *file) readSource(v yamlfile.Value, waits *map[Source]*answerWait, allowed ...Source) (Source, bool) {
	if v.Kind() != yamlfile.KindMapping {
		return yamlfile.OneOf(v, allowed...)
	}
	w := &answerWait{}
	before := f.Failures()
	v.Mapping(yamlfile.Fields{
		"from":       func(v yamlfile.Value) { w.readFrom(v) },
		"find":       func(v yamlfile.Value) { w.find = readRegexp(v) },
		"format":     func(v yamlfile.Value) { w.format, _ = yamlfile.OneOf(v, waitFormats...) },
		"need":       func(v yamlfile.Value) { set(&w.need)(readPlace(v)) },
		"have":       func(v yamlfile.Value) { set(&w.have)(readPlace(v)) },
		"per_second": func(v yamlfile.Value) { set(&w.perSecond)(readPlace(v)) },
	})
	if f.Failures() > before {
		return "", false
	}
	named := w.message || !w.from.IsZero()
	parts := 0
	for _, at := range []place.Place{w.need, w.have, w.perSecond} {
		if !at.IsZero() {
			parts++
		}
	}
	switch {
	case named && parts > 0:
		v.Failf("has from, and need, have or per_second too; write two sources")
	case !named && parts != 3:
		v.Failf("is no source; write from with a place or message, or all of need, have and per_second")
	case parts > 0 && (w.find != nil || w.format != ""):
		v.Failf("has find or format, which belong to from")
	case w.message && w.find == nil:
		v.Failf(`reads the message and needs find, a regular expression whose first group is the time, such as "try again in ([0-9.]+)s"`)
	case w.find != nil && w.find.NumSubexp() == 0:
		v.Failf("has a find without a group; put the part that is the time into parentheses")
	default:
		if w.from.IsBody() && w.find != nil {
			w.inBody = w.from.Finding(w.find)
		}
		source := Source(w.yaml())
		if *waits == nil {
			*waits = map[Source]*answerWait{}
		}
		(*waits)[source] = w
		return source, true
	}
	return "", false
}

func (w *answerWait) readFrom(v yamlfile.Value) {
	if text, ok := v.AnyText(); ok && text == "message" {
		w.message = true
		return
	}
	set(&w.from)(readPlace(v))
}

func (w *answerWait) yaml() string {
	if w.isBucket() {
		return "{need: " + quote(w.need.String()) + ", have: " + quote(w.have.String()) + ", per_second: " + quote(w.perSecond.String()) + "}"
	}
	text := "{from: message"
	if !w.message {
		text = "{from: " + quote(w.from.String())
	}
	if w.find != nil {
		text += ", find: " + quote(w.find.String())
	}
	if w.format != "" {
		text += ", format: " + string(w.format)
	}
	return text + "}"
}

func placesOf(waits map[Source]*answerWait) []place.Place {
	var places []place.Place
	for _, w := range waits {
		places = append(places, w.place(), w.need, w.have, w.perSecond)
	}
	return places
}
