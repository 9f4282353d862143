package simapi

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxScript is the longest script that is read, in bytes.
const maxScript = 1 << 20

// ParseError says which line of a script is wrong, counted from 1, and what to do about it.
type ParseError struct {
	Line    int
	Problem string
}

// Error is "line N: problem".
func (e *ParseError) Error() string {
	return fmt.Sprintf("line %d: %s", e.Line, e.Problem)
}

// ParseScript reads a script for the default API; its grammar is in the package's documentation. The error is a
// *ParseError for the first wrong line.
func ParseScript(text string) (*Script, error) {
	return ParseScriptFor(DefaultAPI, text)
}

// ParseScriptFor reads a script for one of APIs, whose Answers it can name.
func ParseScriptFor(api, text string) (*Script, error) {
	table, found := lookAPI(api)
	if !found {
		return nil, unknownAPI(api)
	}
	if len(text) > maxScript {
		return nil, &ParseError{Line: 1, Problem: fmt.Sprintf("the script has %d bytes; at most %d are read", len(text), maxScript)}
	}
	s := &Script{api: orElse(api, DefaultAPI), text: text}
	for i, line := range strings.Split(text, "\n") {
		words, err := split(strings.TrimSuffix(line, "\r"))
		if err == nil && len(words) > 0 {
			var r rule
			if r, err = parseRule(words, table); err == nil {
				s.rules = append(s.rules, r)
			}
		}
		if err != nil {
			return nil, &ParseError{Line: i + 1, Problem: err.Error()}
		}
	}
	return s, nil
}

// MustParseScript is ParseScript for scripts in source code: it panics on an error.
func MustParseScript(text string) *Script {
	s, err := ParseScript(text)
	if err != nil {
		panic("simapi: script: " + err.Error())
	}
	return s
}

// word is a piece of a line. What stands before bare was quoted, at least in part, and is taken as it is.
type word struct {
	text string
	bare int
	sep  bool // an unquoted -> or ;
}

// split cuts a line into words, and drops its comment.
func split(line string) ([]word, error) {
	if !utf8.ValidString(line) {
		return nil, fmt.Errorf("not UTF-8; save the script as UTF-8")
	}
	var words []word
	for {
		line = strings.TrimLeftFunc(line, unicode.IsSpace)
		if line == "" || line[0] == '#' {
			return words, nil
		}
		if line[0] == ';' {
			words = append(words, word{text: ";", sep: true})
			line = line[1:]
			continue
		}
		w, rest, err := cutWord(line)
		if err != nil {
			return nil, err
		}
		words = append(words, w)
		line = rest
	}
}

func cutWord(line string) (w word, rest string, err error) {
	var text strings.Builder
	for line != "" {
		c, size := utf8.DecodeRuneInString(line)
		switch {
		case c == ';' || unicode.IsSpace(c):
			return finish(text.String(), w.bare), line, nil
		case unicode.IsControl(c):
			return w, "", fmt.Errorf("control character %q; remove it", c)
		case (c == '{' || c == '[') && text.String() == bodyWord:
			value, err := cutJSON(line)
			if err != nil {
				return w, "", err
			}
			text.WriteString(value)
			w.bare = text.Len()
			line = line[len(value):]
		case (c == '"' || c == '`') && strings.HasPrefix(text.String(), bodyWord) && text.Len() > max(w.bare, len(bodyWord)):
			return w, "", fmt.Errorf("a quote inside %s; write the body between backquotes, as in body=`<a b=\"c\">`", clip(text.String()))
		case c == '"' || c == '`':
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				return w, "", fmt.Errorf("a quoted text that does not end or is no Go string: %s", clip(line))
			}
			plain, err := strconv.Unquote(quoted)
			if err != nil {
				return w, "", fmt.Errorf("%s is no Go string", clip(quoted))
			}
			text.WriteString(plain)
			w.bare = text.Len()
			line = line[len(quoted):]
		default:
			text.WriteString(line[:size])
			line = line[size:]
		}
	}
	return finish(text.String(), w.bare), "", nil
}

// bodyWord begins the word with a body.
const bodyWord = "body="

// cutJSON returns the JSON value at the beginning of a line, as it is written. It returns
// "" where the text is not JSON and has no quotes either: then it is a word like any other.
func cutJSON(line string) (string, error) {
	decoder := json.NewDecoder(strings.NewReader(line))
	var value json.RawMessage
	if err := decoder.Decode(&value); err != nil {
		end := strings.IndexFunc(line, func(r rune) bool { return r == ';' || unicode.IsSpace(r) })
		if end < 0 {
			end = len(line)
		}
		if strings.ContainsAny(line[:end], "\"`") {
			return "", fmt.Errorf("%s is not JSON; write such a body between backquotes, as in body=`{\"a\": `", clip(line))
		}
		return line[:end], nil
	}
	return string(value), nil
}

func finish(text string, bare int) word {
	return word{text: text, bare: bare, sep: text == "->" && bare == 0}
}

// clip keeps an error message short.
func clip(text string) string {
	const most = 60
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

func parseRule(words []word, table *api) (rule, error) {
	left, right, found := cutAt(words, "->")
	if !found {
		return rule{}, fmt.Errorf("no ->; write METHOD /path -> answer")
	}
	r, err := parseMatch(left)
	if err != nil {
		return rule{}, err
	}
	for more := true; more; {
		var group []word
		group, right, more = cutAt(right, ";")
		if len(group) == 0 {
			return rule{}, fmt.Errorf("step %d is empty; write an answer, such as ok, or remove the separator", len(r.steps)+1)
		}
		if n := len(r.steps); n > 0 && r.steps[n-1].times == 0 {
			return rule{}, fmt.Errorf("step %d is for ever, so step %d is never reached; make forever the last", n, n+1)
		}
		s, err := parseStep(group, table)
		if err != nil {
			return rule{}, fmt.Errorf("step %d: %w", len(r.steps)+1, err)
		}
		r.steps = append(r.steps, s)
	}
	return r, nil
}

func cutAt(words []word, sep string) (before, after []word, found bool) {
	for i, w := range words {
		if w.sep && w.text == sep {
			return words[:i], words[i+1:], true
		}
	}
	return words, nil, false
}

func parseMatch(words []word) (rule, error) {
	r := rule{share: 1}
	for _, w := range words {
		if w.sep {
			return r, fmt.Errorf("a ; before the ->; quote it if it belongs to a value")
		}
	}
	if len(words) > 0 && words[0].text == "shared" {
		r.shared = true
		words = words[1:]
	}
	if len(words) > 0 && strings.HasSuffix(words[0].text, "%") {
		n, err := strconv.ParseFloat(strings.TrimSuffix(words[0].text, "%"), 64)
		if err != nil || !(n > 0 && n <= 100) {
			return r, fmt.Errorf("share %q; want more than 0%% and at most 100%%", clip(words[0].text))
		}
		r.share = n / 100
		words = words[1:]
	}
	if len(words) < 2 {
		return r, fmt.Errorf("method or path is missing; write METHOD /path -> answer")
	}
	r.method, r.path = words[0].text, words[1].text
	if r.method != "*" && strings.Trim(r.method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || r.method == "" {
		return r, fmt.Errorf("method %q; want it in capitals, or * for any", clip(r.method))
	}
	if !strings.HasPrefix(r.path, "/") && !strings.HasPrefix(r.path, "*") {
		return r, fmt.Errorf("path %q; want one that begins with / or *", clip(r.path))
	}
	if strings.ContainsAny(r.path, "?# ") {
		return r, fmt.Errorf("path %q; write the query as name=value after the path, and a space as %%20", clip(r.path))
	}
	for _, w := range words[2:] {
		name, value, found := strings.Cut(w.text, "=")
		if !found || name == "" {
			return r, fmt.Errorf("%q is no condition; want name=value, or a -> before the answers", clip(w.text))
		}
		r.conds = append(r.conds, condition{name: name, value: value})
	}
	return r, nil
}
