package policy

import (
	"regexp"
	"slices"
)

// field is one field of a rule's match. The zero value means none.
type field uint16

// The fields, in the order in which they are compared: first those that are cheap and
// exclude the most.
const (
	fieldCode field = 1 << iota
	fieldTransport
	fieldHTTP
	fieldFlag
	fieldBody
	fieldIdempotent
	fieldConditional
	fieldEndpoint
	fieldHeader
	fieldLimitUsedUp
	fieldWhere
	fieldMessage
	fieldEnd
)

// fieldNames are the keys of a match in YAML, in the order of the fields.
var fieldNames = [...]string{
	"code", "transport", "http", "status_flag", "body", "idempotent", "conditional", "endpoint", "header", "limit_used_up", "where", "message",
}

func (f field) String() string {
	for i, name := range fieldNames {
		if f == 1<<i {
			return name
		}
	}
	return ""
}

// statusSet is a set of HTTP statuses below 1024.
type statusSet [16]uint64

func (s *statusSet) add(from, to int) {
	for status := from; status <= to; status++ {
		s[status>>6] |= 1 << (status & 63)
	}
}

func (s *statusSet) has(status int) bool {
	return status >= 0 && status < 1024 && s[status>>6]&(1<<(status&63)) != 0
}

// meets reports whether a status from the first to the last is in the set.
func (s *statusSet) meets(first, last int) bool {
	for status := first; status <= last; status++ {
		if s.has(status) {
			return true
		}
	}
	return false
}

func (s *statusSet) contains(other *statusSet) bool {
	for i := range s {
		if other[i]&^s[i] != 0 {
			return false
		}
	}
	return true
}

// headerMatch is a header with a pattern that one of its values must match.
type headerMatch struct {
	name    string
	pattern *regexp.Regexp
}

// match says which outcomes a rule is for. All fields must match; in each, one value
// must match. The zero value matches anything.
type match struct {
	fields field
	// noCode and anyCode are the words none and any among the codes.
	noCode     bool
	anyCode    bool
	idempotent bool
	// conditional and limitUsedUp are the values that the fields of these names must
	// have.
	conditional bool
	limitUsedUp bool
	flag        Flag
	transport   uint16
	body        uint16
	codes       []string
	http        statusSet
	endpoints   []Pattern
	headers     []headerMatch
	where       []whereMatch
	message     *regexp.Regexp
	// shown is each field as YAML, for show and explain.
	shown map[field]string
}

// transports and bodies are the words of these sets. The place of a word is its bit.
var (
	transports = []Transport{
		TransportDNS, TransportDial, TransportTLS, TransportRedirect, TransportTooLarge, TransportResetBeforeSend, TransportResetAfterSend, TransportTimeoutBeforeSend, TransportTimeoutAfterSend,
	}
	bodies = []Body{BodyEnvelope, BodyHTML, BodyEmpty, BodyMalformed, BodyCut}
)

// bit returns the bit of v, or 0 if v is not among the values. Such an outcome matches
// only rules that do not have the field.
func bit[T comparable](values []T, v T) uint16 {
	for i := range values {
		if values[i] == v {
			return 1 << i
		}
	}
	return 0
}

// input is an outcome and an attempt, prepared for matching. If no answer arrived, the
// fields that describe an answer are empty, whatever the outcome says.
type input struct {
	answered    bool
	idempotent  bool
	conditional bool
	transport   uint16
	body        uint16
	status      int
	flag        Flag
	code        string
	method      string
	path        string
	// outcome is nil if no answer arrived.
	outcome *Outcome
}

func newInput(o *Outcome, a *Attempt) input {
	in := input{idempotent: a.Idempotent, conditional: a.Conditional, flag: FlagAbsent}
	in.method, in.path = splitEndpoint(a)
	if o.Transport != TransportNone {
		in.transport = bit(transports, o.Transport)
		return in
	}
	in.answered = true
	in.status = o.Status
	in.outcome = o
	in.code = CanonicalCode(o.Code)
	in.body = bit(bodies, o.Body)
	if o.Flag == FlagTrue || o.Flag == FlagFalse {
		in.flag = o.Flag
	}
	return in
}

// message returns the API's own message, empty if no answer arrived.
func (in *input) message() string {
	if in.outcome == nil {
		return ""
	}
	return in.outcome.Message
}

// miss returns the first field that does not match, or 0 if all match.
func (m *match) miss(in *input) field {
	for left := m.fields; left != 0; left &= left - 1 {
		if f := left & -left; !m.fits(f, in) {
			return f
		}
	}
	return 0
}

func (m *match) fits(f field, in *input) bool {
	switch f {
	case fieldCode:
		if in.code == "" {
			return m.noCode
		}
		return m.anyCode || slices.Contains(m.codes, in.code)
	case fieldTransport:
		return m.transport&in.transport != 0
	case fieldHTTP:
		return m.http.has(in.status)
	case fieldFlag:
		return m.flag == in.flag
	case fieldBody:
		return m.body&in.body != 0
	case fieldIdempotent:
		return m.idempotent == in.idempotent
	case fieldConditional:
		return m.conditional == in.conditional
	case fieldLimitUsedUp:
		return in.answered && m.limitUsedUp == limitUsedUp(in.outcome.Header, in.outcome.ReceivedAt)
	case fieldEndpoint:
		for _, e := range m.endpoints {
			if e.Match(in.method, in.path) {
				return true
			}
		}
		return false
	case fieldHeader:
		for _, h := range m.headers {
			if !in.answered || !slices.ContainsFunc(in.outcome.Header[h.name], h.pattern.MatchString) {
				return false
			}
		}
		return true
	case fieldWhere:
		for i := range m.where {
			if !in.answered || !m.where[i].fits(in.outcome) {
				return false
			}
		}
		return true
	default:
		return m.message.MatchString(in.message())
	}
}

// names returns the keys of the fields.
func (m *match) names() []string {
	var names []string
	for f := fieldCode; f < fieldEnd; f <<= 1 {
		if m.fields&f != 0 {
			names = append(names, f.String())
		}
	}
	return names
}

// covers reports whether m matches everything that other matches. It may return false
// where it does (two regular expressions with the same meaning), but never true where
// it does not.
func (m *match) covers(other *match) bool {
	for f := fieldCode; f < fieldEnd; f <<= 1 {
		if m.fields&f == 0 {
			continue
		}
		if other.fields&f == 0 || !m.coversField(f, other) {
			return false
		}
	}
	return true
}

func (m *match) coversField(f field, other *match) bool {
	switch f {
	case fieldCode:
		return (m.noCode || !other.noCode) && (m.anyCode || !other.anyCode && !slices.ContainsFunc(other.codes, func(code string) bool {
			return !slices.Contains(m.codes, code)
		}))
	case fieldTransport:
		return other.transport&^m.transport == 0
	case fieldHTTP:
		return m.http.contains(&other.http)
	case fieldFlag:
		return m.flag == other.flag
	case fieldBody:
		return other.body&^m.body == 0
	case fieldIdempotent:
		return m.idempotent == other.idempotent
	case fieldConditional:
		return m.conditional == other.conditional
	case fieldLimitUsedUp:
		return m.limitUsedUp == other.limitUsedUp
	case fieldEndpoint:
		return !slices.ContainsFunc(other.endpoints, func(e Pattern) bool {
			return !slices.ContainsFunc(m.endpoints, func(own Pattern) bool { return own.covers(e) })
		})
	case fieldHeader:
		return !slices.ContainsFunc(m.headers, func(h headerMatch) bool {
			return !slices.ContainsFunc(other.headers, func(theirs headerMatch) bool {
				return theirs.name == h.name && theirs.pattern.String() == h.pattern.String()
			})
		})
	case fieldWhere:
		return !slices.ContainsFunc(m.where, func(w whereMatch) bool {
			return !slices.ContainsFunc(other.where, func(theirs whereMatch) bool { return theirs.yaml() == w.yaml() })
		})
	default:
		return m.message.String() == other.message.String()
	}
}
