package simapi

import (
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/seed-2903acc3/callq/internal/glob"
)

// Script is a parsed script. It is immutable: how far each call target has come is the Server's to know, so that several
// Servers may share one. The grammar is in the package's documentation.
type Script struct {
	api   string
	text  string
	rules []rule
}

// String returns the text that the script was parsed from.
func (s *Script) String() string {
	if s == nil {
		return ""
	}
	return s.text
}

// rule is one line of a script.
type rule struct {
	shared bool
	share  float64 // of the targets, 0 to 1; 1 takes all
	method string  // "*": any
	path   string
	conds  []condition
	steps  []step
}

type condition struct {
	name, value string
}

type step struct {
	answer answer
	times  int // 0: for ever
}

type kind string

const (
	kindOK         kind = "ok"
	kindCode       kind = "code"
	kindNoCode     kind = "no-code"
	kindHTTP       kind = "http"
	kindHTML       kind = "html"
	kindEmpty      kind = "empty"
	kindMalformed  kind = "malformed"
	kindCut        kind = "cut"
	kindBody       kind = "body"
	kindBig        kind = "big"
	kindRedirect   kind = "redirect"
	kindHang       kind = "hang"
	kindReset      kind = "reset"
	kindResetAfter kind = "reset-after"
	kindToken      kind = "token"
	kindReply      kind = "reply" // an answer that the API's table names
)

// answer is what a call gets. The zero value of each field but kind means: not asked for.
type answer struct {
	kind     kind
	code     string
	status   int
	message  string
	text     string // body=
	hasText  bool   // text was given, and may be empty
	location string
	size     int64
	gzip     bool
	hang     time.Duration
	latency  time.Duration
	header   [][2]string
	retry    retryAfter
	reply    *apiReply     // of an API with a table
	wait     time.Duration // until calls are taken again
	label    string        // the answer's name in Stats and Call
}

// retryAfter is a Retry-After header: wait, as seconds or as a date so far from now.
type retryAfter struct {
	set, date bool
	wait      time.Duration
}

// onTheWire tells whether the answer is an HTTP message at all.
func (a answer) onTheWire() bool {
	return a.kind != kindHang && a.kind != kindReset && a.kind != kindResetAfter
}

// works tells whether the API does the call's work, which is what it charges for.
func (a answer) works() bool {
	switch a.kind {
	case kindOK, kindCut, kindBig, kindResetAfter:
		return true
	}
	return false
}

// target is what makes two requests the same call.
type target struct {
	method, path string
	query        url.Values
	hash         uint64
}

// targetOf leaves the apikey out of the hash: a credential does not make another call.
func targetOf(r *http.Request) target {
	t := target{method: r.Method, path: r.URL.EscapedPath(), query: r.URL.Query()}
	query := t.query
	if query.Has("apikey") {
		query = maps.Clone(query)
		query.Del("apikey")
	}
	h := uint64(14695981039346656037) // FNV-1a, 64 bit
	for _, part := range []string{t.method, "\x00", t.path, "\x00", query.Encode()} {
		for i := range len(part) {
			h = (h ^ uint64(part[i])) * 1099511628211
		}
	}
	t.hash = h
	return t
}

// scatter mixes numbers into one that looks random (the finalizer of SplitMix64).
func scatter(parts ...uint64) uint64 {
	var h uint64
	for _, p := range parts {
		h = (h ^ p) + 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// fraction maps a scattered number to [0, 1).
func fraction(h uint64) float64 {
	return float64(h>>11) / (1 << 53)
}

// progressKey is whose way through a rule's steps is counted.
type progressKey struct {
	rule   int
	target uint64
}

// next returns the script's answer to a call and advances its progress; false: the default answers.
func (s *Script) next(seed uint64, r *http.Request, t target, progress map[progressKey]int) (answer, bool) {
	if s == nil {
		return answer{}, false
	}
	for i := range s.rules {
		rule := &s.rules[i]
		if !rule.matches(seed, uint64(i), r, t) {
			continue
		}
		key := progressKey{rule: i, target: t.hash}
		if rule.shared {
			key.target = 0
		}
		step, left := rule.at(progress[key])
		if left && step.times > 0 {
			progress[key]++
		}
		return step.answer, left
	}
	return answer{}, false
}

// at returns the step that answers after done calls.
func (r *rule) at(done int) (step, bool) {
	for _, s := range r.steps {
		if s.times == 0 || done < s.times {
			return s, true
		}
		done -= s.times
	}
	return step{}, false
}

func (r *rule) matches(seed, index uint64, req *http.Request, t target) bool {
	if r.method != "*" && r.method != t.method || !glob.Match(r.path, t.path) {
		return false
	}
	for _, c := range r.conds {
		values, inQuery := t.query[c.name]
		if !inQuery {
			values = req.Header.Values(c.name)
		}
		if !anyGlob(c.value, values) {
			return false
		}
	}
	return r.share == 1 || fraction(scatter(seed, index, t.hash)) < r.share
}

func anyGlob(pattern string, texts []string) bool {
	for _, t := range texts {
		if glob.Match(pattern, t) {
			return true
		}
	}
	return false
}
