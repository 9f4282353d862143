package draft

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/policy/place"
)

// lastRule is the rule of every policy that matches what no other rule does.
const lastRule = "anything-else"

// statusRules are the rules of the preset http, which know an answer only by its status.
var statusRules = sync.OnceValue(func() []string {
	p, err := policy.Preset("http")
	if err != nil {
		return nil
	}
	return p.Rules()
})

// NeedsRule reports whether no rule knew an answer: none matched, its class is unknown,
// or the status alone decided although the body describes an error. A text describes one if
// it says more than the status, and is no web page.
func NeedsRule(a Answer) bool {
	switch {
	case a.Status == 0:
		return false
	case a.Rule == lastRule, a.Class == string(policy.ClassUnknown):
		return true
	case !slices.Contains(statusRules(), a.Rule):
		return false
	}
	body := bytes.TrimSpace(a.Body)
	return describesError(body, a.Status >= 300) || a.Status >= 400 && isText(body) && saysMore(body, a.Status)
}

// errorNames are the names of members that describe an error, in lower case without "_"
// and "-".
var errorNames = []string{"error", "errors", "errorcode", "errcode", "errormessage", "errormsg", "fault", "exception"}

// describesError reports whether a body has an error object. In an answer that failed any
// code and any message is one.
func describesError(body []byte, failed bool) bool {
	if !isJSON(body) {
		return false
	}
	found := false
	doc := gjson.ParseBytes(body)
	if doc.IsArray() {
		doc = doc.Get("0")
	}
	doc.ForEach(func(key, value gjson.Result) bool {
		name := plainName(key.Str)
		switch {
		case slices.Contains(errorNames, name):
			found = found || isSomething(value)
		case name == "ok" || name == "success" || name == "successful" || name == "status":
			found = found || value.Type == gjson.False
		case failed && (codeNames[name] > 0 || messageNames[name] > 0):
			found = found || isSomething(value)
		}
		return !found
	})
	return found
}

func isJSON(body []byte) bool {
	return len(body) > 0 && (body[0] == '{' || body[0] == '[') && place.IsJSON(body)
}

// isSomething reports whether a value is not null, false, zero or empty.
func isSomething(v gjson.Result) bool {
	switch v.Type {
	case gjson.String:
		return strings.TrimSpace(v.Str) != "" && v.Str != "0"
	case gjson.Number:
		return v.Num != 0
	case gjson.True:
		return true
	case gjson.JSON:
		return strings.Trim(v.Raw, "{}[] \t\r\n") != ""
	default:
		return false
	}
}

// maxBody is how many bytes of a body are kept.
const maxBody = 4 << 10

// Clip shortens a body to a few KiB of text. JSON stays JSON: its long strings and lists
// are shortened.
func Clip(body []byte) []byte {
	body = bytes.TrimSpace(body)
	if len(body) <= maxBody && utf8.Valid(body) && bytes.IndexByte(body, 0) < 0 {
		return body
	}
	if isJSON(body) {
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		var whole any
		if decoder.Decode(&whole) == nil {
			for _, limit := range []limits{{200, 3, 50, 8}, {80, 2, 20, 6}, {40, 1, 10, 5}, {20, 1, 5, 4}} {
				if short, err := encode(limit.shorten(whole, 0)); err == nil && len(short) <= maxBody {
					return short
				}
			}
		}
	}
	text := strings.ReplaceAll(string(body[:min(len(body), maxBody)]), "\x00", "")
	return []byte(strings.ToValidUTF8(text, ""))
}

// limits are how many characters a string, items a list and members an object keep, and
// how deep they nest.
type limits struct{ text, items, members, depth int }

func (l limits) shorten(v any, depth int) any {
	switch v := v.(type) {
	case string:
		if r := []rune(v); len(r) > l.text {
			return string(r[:l.text]) + "…"
		}
	case []any:
		if depth == l.depth {
			return []any{}
		}
		short := make([]any, min(len(v), l.items))
		for i := range short {
			short[i] = l.shorten(v[i], depth+1)
		}
		return short
	case map[string]any:
		short := map[string]any{}
		for _, name := range sortedNames(v) {
			if depth < l.depth && len(short) < l.members && len(name) <= l.text {
				short[name] = l.shorten(v[name], depth+1)
			}
		}
		return short
	}
	return v
}

// sortedNames returns the names of an object, those first that describe errors.
func sortedNames(object map[string]any) []string {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	rank := func(name string) int {
		plain := plainName(name)
		if slices.Contains(errorNames, plain) || codeNames[plain] > 0 || messageNames[plain] > 0 {
			return 0
		}
		return 1
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names
}

func encode(v any) ([]byte, error) {
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(w.Bytes()), err
}

var nameReplacer = strings.NewReplacer("_", "", "-", "")

func plainName(s string) string { return nameReplacer.Replace(strings.ToLower(s)) }
