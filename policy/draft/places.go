package draft

import (
	"cmp"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy/place"
)

// codeNames and messageNames are the usual names of members with a code or a message, in
// lower case without "_" and "-"; the higher, the more usual.
var (
	codeNames = map[string]int{
		"code": 10, "errorcode": 10, "errcode": 10, "errno": 9, "faultcode": 9, "exceptioncode": 9, "reason": 8, "errortype": 8, "error": 7,
		"type": 6, "subcode": 4, "status": 3, "name": 3,
	}
	messageNames = map[string]int{
		"message": 10, "msg": 10, "errormessage": 10, "errormsg": 10, "errordescription": 9, "faultstring": 9, "detail": 8, "description": 7,
		"text": 7, "error": 6, "reason": 5, "title": 5,
	}
	idNames = map[string]int{"requestid": 10, "correlationid": 10, "traceid": 9, "logid": 8}
	// containerNames are the names of members that hold errors.
	containerNames = []string{"error", "errors", "fault", "exception", "errorresponse"}
)

const (
	// maxDepth is how deep a body is searched, and maxItems how many items of a list.
	maxDepth = 5
	maxItems = 3
	// maxPlaces is how many places are proposed for one thing.
	maxPlaces = 3
)

// candidate is a place of the body with what the answers have there.
type candidate struct {
	path  string
	score int
	// values are the values by the answer's number.
	values map[int]string
}

// reading is the proposed block read.
type reading struct{ code, message, ok, correlationID []string }

// found is one value in a body.
type found struct {
	path, name, parent string // name and parent, the object's name, are plain
	container          bool
	depth              int
	value              any
}

// walk visits the values of a body that are neither objects nor lists.
func walk(v any, at found, visit func(found)) {
	if at.depth > maxDepth {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range sortedNames(v) {
			next := found{path: at.path + step(name), name: plainName(name), parent: at.name, container: at.container, depth: at.depth + 1}
			next.container = next.container || slices.Contains(containerNames, at.name)
			walk(v[name], next, visit)
		}
	case []any:
		at.path += "[*]"
		for _, item := range v[:min(len(v), maxItems)] {
			walk(item, at, visit)
		}
	case nil:
	default:
		at.value = v
		visit(at)
	}
}

var plainStep = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// step is a name as a JSONPath writes it.
func step(name string) string {
	if plainStep.MatchString(name) {
		return "." + name
	}
	quoted, err := encode(name)
	if err != nil {
		return "[*]"
	}
	text := strings.ReplaceAll(strings.ReplaceAll(string(quoted[1:len(quoted)-1]), `\"`, `"`), "'", `\'`)
	return "['" + text + "']"
}

// propose finds the places that probably have code, message, success flag and id.
func propose(answers []Answer, bodies []any) reading {
	codes, messages, flags, ids := map[string]*candidate{}, map[string]*candidate{}, map[string]*candidate{}, map[string]*candidate{}
	add := func(into map[string]*candidate, f found, i, score int, value string) {
		if score == 0 || value == "" {
			return
		}
		if f.container {
			score += 4
		} else if f.depth == 1 {
			score += 2
		}
		c := into[f.path]
		if c == nil {
			c = &candidate{path: f.path, score: score - max(f.depth-2, 0), values: map[int]string{}}
			into[f.path] = c
		}
		if _, known := c.values[i]; !known {
			c.values[i] = value
		}
	}
	for i, body := range bodies {
		if body == nil && isText(answers[i].Body) {
			walkText(answers[i].Body, func(f found, value string) {
				codeScore, messageScore := codeNames[f.name], messageNames[f.name]
				if codeScore == 0 && upperWord.MatchString(value) {
					codeScore = 2
				}
				if messageScore == 0 && strings.Contains(value, " ") {
					messageScore = 1
				}
				add(codes, f, i, codeScore, codeText(value, answers[i].Status))
				add(messages, f, i, messageScore, value)
			})
		}
		for _, name := range slices.Sorted(maps.Keys(answers[i].Header)) {
			f := found{path: "header " + strings.ToLower(name), depth: 2}
			add(codes, f, i, headerCode(name), codeText(answers[i].Header.Get(name), answers[i].Status))
		}
		walk(body, found{path: "$"}, func(f found) {
			add(codes, f, i, codeNames[f.name], codeText(f.value, answers[i].Status))
			add(messages, f, i, messageNames[f.name], messageText(f.value))
			add(ids, f, i, idNames[f.name], messageText(f.value))
			if flag, is := f.value.(bool); is && f.depth == 1 && (f.name == "ok" || f.name == "success" || f.name == "status") {
				add(flags, f, i, 1, strconv.FormatBool(flag))
			}
		})
	}
	// A value that differs from answer to answer is an id.
	maps.DeleteFunc(codes, func(_ string, c *candidate) bool {
		different := map[string]bool{}
		for _, value := range c.values {
			different[value] = true
		}
		return len(different) >= 8 && len(different)*5 >= len(c.values)*4
	})
	r := reading{code: best(codes, len(bodies)), ok: best(flags, len(bodies)), correlationID: best(ids, len(bodies))}
	for _, path := range r.code {
		delete(messages, path)
	}
	r.message = best(messages, len(bodies))
	return r
}

// best returns the best place, and then those that have something in other answers.
func best(candidates map[string]*candidate, answers int) []string {
	list := slices.SortedFunc(maps.Values(candidates), func(a, b *candidate) int {
		weight := func(c *candidate) int { return c.score + 3*len(c.values)/max(answers, 1) }
		return cmp.Or(weight(b)-weight(a), len(b.values)-len(a.values), strings.Compare(a.path, b.path))
	})
	var paths []string
	covered := map[int]bool{}
	for _, c := range list {
		before := len(covered)
		for i := range c.values {
			covered[i] = true
		}
		_, err := place.Parse(c.path)
		if (err == nil || strings.HasPrefix(c.path, "{")) && len(covered) > before {
			paths = append(paths, c.path)
		}
		if len(paths) == maxPlaces {
			break
		}
	}
	return paths
}

// vagueCodes are words that say only that something failed.
var vagueCodes = []string{"error", "errors", "fail", "failed", "failure", "exception", "ok", "success", "true", "false", "none", "null"}

// codeText returns a value if it can be an error code. The HTTP status is none.
func codeText(v any, status int) string {
	const longest = 64
	var text string
	switch v := v.(type) {
	case json.Number:
		if text = v.String(); strings.ContainsAny(text, ".eE") || text == "0" {
			return ""
		}
	case string:
		text = v
	}
	if len(text) > longest || text == strconv.Itoa(status) || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' }) ||
		strings.Contains(text, "://") || slices.Contains(vagueCodes, strings.ToLower(text)) {
		return ""
	}
	return text
}

func messageText(v any) string {
	text, _ := v.(string)
	return strings.TrimSpace(text)
}

// waitNames match the names of members that say when to call again.
var waitNames = regexp.MustCompile(`retry|wait|reset|delay|backoff|resume`)

// goDuration matches a duration such as 6m0s.
var goDuration = regexp.MustCompile(`^[0-9.]+(ms|s|m|h)([0-9.]+(ms|s|m|h))*$`)

// proposeWaits returns sources for places that probably say when to call again.
func proposeWaits(bodies []any) []string {
	formats := map[string]string{}
	for _, body := range bodies {
		walk(body, found{path: "$"}, func(f found) {
			if format := waitFormat(f.name, f.value); format != "" && waitNames.MatchString(f.name) {
				formats[f.path] = format
			}
		})
	}
	var sources []string
	for _, path := range slices.Sorted(maps.Keys(formats)) {
		if _, err := place.Parse(path); err != nil {
			continue
		}
		sources = append(sources, "{from: "+quote(path)+", format: "+formats[path]+"}")
	}
	return sources[:min(len(sources), maxPlaces)]
}

func waitFormat(name string, v any) string {
	const epoch, epochMillis = 1e9, 1e11
	text, _ := v.(string)
	if n, ok := v.(json.Number); ok {
		text = n.String()
	}
	n, err := strconv.ParseFloat(text, 64)
	switch {
	case err == nil && n >= epochMillis:
		return "epoch_ms"
	case err == nil && n >= epoch:
		return "epoch"
	case err == nil && n >= 0 && (strings.Contains(name, "ms") || strings.Contains(name, "milli")):
		return "milliseconds"
	case err == nil && n >= 0:
		return "seconds"
	case goDuration.MatchString(text):
		return "duration"
	}
	if _, err := time.Parse(time.RFC3339, text); err == nil {
		return "rfc3339"
	}
	return ""
}
