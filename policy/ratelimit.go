package policy

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// allowance is what a server says is left of a limit.
type allowance int8

const (
	allowanceUnknown allowance = iota
	allowanceLeft
	allowanceUsedUp
)

// maxField is the length of the longest header field that is read, in bytes.
const maxField = 8 << 10

// limit is one rate limit as an answer's header describes it.
type limit struct {
	left allowance
	// reset is when the limit is reset; its Header is empty if the answer does not
	// say.
	reset ServerTime
}

// rateLimitReset returns how long after the answer arrived the rate limit is reset. A
// limit that is not used up is not a reason to wait. Of the limits that are used up, the
// longest wait counts. If the answer does not say which are used up, the longest wait of
// all counts.
func rateLimitReset(h http.Header, received time.Time) (ServerTime, bool) {
	var longest [allowanceUsedUp + 1]ServerTime
	for _, l := range readLimits(h, received) {
		if best := &longest[l.left]; l.reset.Header != "" && (best.Header == "" || l.reset.Wait > best.Wait) {
			*best = l.reset
		}
	}
	if longest[allowanceUsedUp].Header != "" {
		return longest[allowanceUsedUp], true
	}
	return longest[allowanceUnknown], longest[allowanceUnknown].Header != ""
}

// limitUsedUp reports whether the header says that the call met a limit: it asks
// for a wait, or a limit has nothing left.
func limitUsedUp(h http.Header, received time.Time) bool {
	if given, ok := retryAfter(h, received); ok && given.Wait > 0 {
		return true
	}
	return slices.ContainsFunc(readLimits(h, received), func(l limit) bool { return l.left == allowanceUsedUp })
}

// rateLimitPart is what a header field about a rate limit contains.
type rateLimitPart int8

const (
	noPart rateLimitPart = iota
	partRemaining
	partReset
	partResetMillis
	// partWhole is a whole limit or several, as in the field RateLimit.
	partWhole
)

// rateLimitName splits the name of a field. APIs add their own name and the limit's, in
// any order: X-RateLimit-Reset-Requests, Anthropic-Ratelimit-Requests-Reset,
// X-Rate-Limit-Reset. limit is the rest of the name. Fields with the same rest describe
// the same limit.
func rateLimitName(name string) (limit string, part rateLimitPart) {
	name = strings.ReplaceAll(strings.ToLower(name), "rate-limit", "ratelimit")
	if !strings.Contains(name, "ratelimit") {
		return "", noPart
	}
	part = partWhole
	var kept []string
	for i, word := range strings.Split(name, "-") {
		switch word {
		case "x":
			if i == 0 {
				continue
			}
		case "remaining":
			part = partRemaining
			continue
		case "reset", "resets", "resettime", "next":
			part = partReset
			continue
		case "after", "at", "date", "in", "time":
			if part == partReset {
				continue
			}
		case "ms", "milliseconds":
			if part == partReset {
				part = partResetMillis
				continue
			}
		case "retry", "policy", "limit", "used":
			return "", noPart
		}
		kept = append(kept, word)
	}
	return strings.Join(kept, "-"), part
}

// readLimits returns the limits that a header describes.
func readLimits(h http.Header, received time.Time) []limit {
	var names []string
	for name := range h {
		if _, part := rateLimitName(name); part != noPart {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names) // so that equal headers give equal answers
	server := serverNow(h, received)
	var limits []limit
	parts := map[string]*limitFields{}
	var order []string
	for _, name := range names {
		key, part := rateLimitName(name)
		if part == partWhole {
			for _, line := range h[name] {
				limits = append(limits, wholeLimits(name, line, server)...)
			}
			continue
		}
		if parts[key] == nil {
			parts[key] = &limitFields{}
			order = append(order, key)
		}
		parts[key].add(name, part, h[name], server)
	}
	for _, key := range order {
		limits = append(limits, parts[key].limits()...)
	}
	return limits
}

// limitFields are the fields about one limit, or about several limits if each field
// is a list.
type limitFields struct {
	remaining []allowance
	resets    []ServerTime
}

func (f *limitFields) add(name string, part rateLimitPart, lines []string, server time.Time) {
	number := waitOrEpoch
	if part == partResetMillis {
		number = millisOrEpoch
	}
	whole := joinLines(lines) // only once, because a hostile header has very many lines
	for _, line := range lines {
		eachValue(line, func(value string) {
			value, _, _ = strings.Cut(value, ";")
			if part == partRemaining {
				f.remaining = append(f.remaining, readAllowance(value))
			} else if wait, ok := readWait(value, server, number); ok {
				f.resets = append(f.resets, ServerTime{Source: SourceRateLimitReset, Header: name, Value: whole, Wait: wait})
			}
		})
	}
}

// limits pairs the remaining calls with the resets. If there are not as many of one as
// of the other, all of them describe one limit.
func (f *limitFields) limits() []limit {
	if len(f.remaining) == len(f.resets) {
		paired := make([]limit, len(f.resets))
		for i, reset := range f.resets {
			paired[i] = limit{left: f.remaining[i], reset: reset}
		}
		return paired
	}
	left := allowanceUnknown
	for _, one := range f.remaining {
		left = max(left, one)
	}
	if len(f.resets) == 0 {
		return []limit{{left: left}}
	}
	limits := make([]limit, len(f.resets))
	for i, reset := range f.resets {
		limits[i] = limit{left: left, reset: reset}
	}
	return limits
}

// readAllowance reads how many calls, or other units, are left. A number below 0 means
// "no limit" for some APIs and a limit that is overdrawn for others, so it is unknown.
func readAllowance(s string) allowance {
	s = strings.Trim(s, "\" \t")
	n, ok := readDecimal(s)
	switch {
	case !ok || strings.HasPrefix(s, "-"):
		return allowanceUnknown
	case n == decimal{}:
		return allowanceUsedUp
	default:
		return allowanceLeft
	}
}

// wholeLimits reads a field that describes whole limits: `"name";r=0;t=36400` and
// lists of it (draft-ietf-httpapi-ratelimit-headers-08 and later), or
// `limit=100, remaining=0, reset=3600` (its draft 7, and like it
// https://developer.zendesk.com/documentation/api-basics/best-practices/best-practices-for-avoiding-rate-limiting
// and https://docs.unity.com/services-web-apis/headers).
func wholeLimits(name, line string, server time.Time) []limit {
	if len(line) > maxField {
		return nil
	}
	var limits []limit
	add := func(remaining, reset string) {
		var l limit
		l.left = readAllowance(remaining)
		if wait, ok := readWait(reset, server, waitOrEpoch); ok {
			l.reset = ServerTime{Source: SourceRateLimitReset, Header: name, Value: line, Wait: wait}
		}
		if l.left != allowanceUnknown || l.reset.Header != "" {
			limits = append(limits, l)
		}
	}
	if list, err := httpsfv.UnmarshalList([]string{line}); err == nil && len(list) > 0 {
		for _, member := range list {
			add(numberOf(member, "r"), numberOf(member, "t"))
		}
		return limits
	}
	if key, _, ok := strings.Cut(line, "="); !ok || strings.Trim(strings.TrimSpace(key), "abcdefghijklmnopqrstuvwxyz-_") != "" {
		return nil
	}
	seen := map[string]string{}
	done := func() { add(seen["remaining"], seen["reset"]) }
	for _, pair := range strings.FieldsFunc(line, func(r rune) bool { return r == ',' || r == ';' }) {
		key, value, ok := strings.Cut(pair, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if key == "resets" {
			key = "reset"
		}
		if _, again := seen[key]; again { // the next limit
			done()
			clear(seen)
		}
		if ok {
			seen[key] = value
		}
	}
	done()
	return limits
}

// numberOf returns a parameter of a List's member (RFC 9651) as text. It is empty if
// there is no such parameter or it is not a number.
func numberOf(member httpsfv.Member, name string) string {
	var params *httpsfv.Params
	switch m := member.(type) {
	case httpsfv.Item:
		params = m.Params
	case httpsfv.InnerList:
		params = m.Params
	}
	value, _ := params.Get(name)
	switch n := value.(type) {
	case int64:
		return strconv.FormatInt(n, 10)
	case float64:
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	return ""
}

func joinLines(lines []string) string {
	if len(lines) == 1 {
		return lines[0]
	}
	return strings.Join(lines, ", ")
}
