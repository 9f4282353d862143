package policy

import (
	"net/textproto"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// readMatch reads what a rule wants. Each field is kept as YAML too, in the
// form that show and explain print.
func (f *file) readMatch(n ast.Node) match {
	m := match{shown: map[field]string{}}
	found := func(fd field, shown string) {
		m.fields |= fd
		m.shown[fd] = shown
	}
	f.mapping(n, "match", map[string]entry{
		"code": func(v ast.Node) { found(fieldCode, f.readCodes(v, &m)) },
		"http": func(v ast.Node) { found(fieldHTTP, f.readStatuses(v, &m)) },
		"transport": func(v ast.Node) {
			set, shown := readSet(f.source, v, "transport", transports)
			m.transport = set
			found(fieldTransport, shown)
		},
		"body": func(v ast.Node) {
			set, shown := readSet(f.source, v, "body", bodies)
			m.body = set
			found(fieldBody, shown)
		},
		"status_flag": func(v ast.Node) {
			m.flag = f.readFlag(v)
			found(fieldFlag, quote(string(m.flag)))
		},
		"message": func(v ast.Node) {
			if m.message = f.regexp(v, "message"); m.message != nil {
				found(fieldMessage, quote(m.message.String()))
			}
		},
		"endpoint": func(v ast.Node) { found(fieldEndpoint, f.readEndpoints(v, &m)) },
		"header":   func(v ast.Node) { found(fieldHeader, f.readHeaders(v, &m)) },
		"idempotent": func(v ast.Node) {
			m.idempotent, _ = f.boolean(v, "idempotent")
			found(fieldIdempotent, strconv.FormatBool(m.idempotent))
		},
		"conditional": func(v ast.Node) {
			m.conditional, _ = f.boolean(v, "conditional")
			found(fieldConditional, strconv.FormatBool(m.conditional))
		},
		"limit_used_up": func(v ast.Node) {
			m.limitUsedUp, _ = f.boolean(v, "limit_used_up")
			found(fieldLimitUsedUp, strconv.FormatBool(m.limitUsedUp))
		},
	})
	return m
}

// scalar is what stands in the file for a number or a text.
func (s *source) scalar(n ast.Node) (text string, ok bool) {
	switch v := s.resolve(n).(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.IntegerNode, *ast.FloatNode:
		return v.GetToken().Value, true
	}
	return "", false
}

// flow writes a list in YAML's flow style.
func flow[T ~string](items []T) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = string(item)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func (f *file) readCodes(n ast.Node, m *match) string {
	var shown []string
	f.some(n, "code", func(item ast.Node) {
		text, ok := f.scalar(item)
		if text == "none" {
			m.noCode = true
			shown = append(shown, text)
			return
		}
		number, isNumber := splitNumber(text)
		if !ok || !isNumber || len(number.whole)+len(number.fraction) > maxCodeDigits {
			f.fail(item, "a code is a number or none, not %s", kind(f.resolve(item)))
			return
		}
		// 010 is eight to some readers of YAML and ten to others.
		if len(text) > 1 && text[0] == '0' && onlyDigits(text) {
			f.fail(item, "write the code %s without leading zeros", text)
			return
		}
		code := CanonicalCode(text)
		if code == "" {
			m.noCode = true
			shown = append(shown, "none")
			return
		}
		m.codes = append(m.codes, code)
		shown = append(shown, code)
	})
	return flow(shown)
}

// readStatuses reads numbers, classes such as "5xx" and ranges such as
// "500-599".
func (f *file) readStatuses(n ast.Node, m *match) string {
	var shown []string
	f.some(n, "http", func(item ast.Node) {
		text, _ := f.scalar(item)
		from, to, ok := parseStatuses(text)
		if !ok {
			f.fail(item, `an entry of http is a status from 100 to 599, a class such as "5xx" or a range such as "500-599", not %s`,
				kind(f.resolve(item)))
			return
		}
		m.http.add(from, to)
		if !onlyDigits(text) {
			text = quote(text)
		}
		shown = append(shown, text)
	})
	return flow(shown)
}

func parseStatuses(s string) (from, to int, ok bool) {
	if len(s) == 3 && strings.EqualFold(s[1:], "xx") && s[0] >= '1' && s[0] <= '5' {
		from = int(s[0]-'0') * 100
		return from, from + 99, true
	}
	low, high, isRange := strings.Cut(s, "-")
	if !isRange {
		high = low
	}
	from, ok1 := parseStatus(strings.TrimSpace(low))
	to, ok2 := parseStatus(strings.TrimSpace(high))
	return from, to, ok1 && ok2 && from <= to
}

func parseStatus(s string) (int, bool) {
	if len(s) != 3 || !onlyDigits(s) {
		return 0, false
	}
	status, err := strconv.Atoi(s)
	return status, err == nil && status >= 100 && status <= 599
}

// readSet reads words of a closed set, as bits.
func readSet[T ~string](s *source, n ast.Node, what string, values []T) (uint16, string) {
	var set uint16
	var shown []string
	s.some(n, what, func(item ast.Node) {
		if v, ok := oneOf(s, item, "an entry of "+what, values); ok {
			set |= bit(values, v)
			shown = append(shown, string(v))
		}
	})
	return set, flow(shown)
}

// readFlag reads "true", "false" or absent; true and false need no quotes.
func (f *file) readFlag(n ast.Node) Flag {
	if b, ok := f.resolve(n).(*ast.BoolNode); ok {
		return Flag(strconv.FormatBool(b.Value))
	}
	flag, _ := oneOf(f.source, n, "status_flag", []Flag{FlagTrue, FlagFalse, FlagAbsent})
	return flag
}

func (f *file) readEndpoints(n ast.Node, m *match) string {
	var shown []string
	f.some(n, "endpoint", func(item ast.Node) {
		text, ok := f.text(item, "an entry of endpoint")
		if !ok {
			return
		}
		e, err := parseEndpoint(text)
		if err != nil {
			f.fail(item, "%v, not %q", err, text)
			return
		}
		m.endpoints = append(m.endpoints, e)
		shown = append(shown, quote(e.String()))
	})
	return flow(shown)
}

func (f *file) readHeaders(n ast.Node, m *match) string {
	var shown []string
	before := len(f.errs)
	f.pairs(n, "header", func(key, value ast.Node, name string) {
		pattern := f.regexp(value, "the pattern of a header")
		if pattern == nil {
			return
		}
		if strings.ContainsAny(name, " \t\r\n:") || name == "" {
			f.fail(key, "%q is no name of a header", name)
			return
		}
		m.headers = append(m.headers, headerMatch{name: textproto.CanonicalMIMEHeaderKey(name), pattern: pattern})
		shown = append(shown, quote(name)+": "+quote(pattern.String()))
	})
	if len(m.headers) == 0 && len(f.errs) == before {
		f.fail(n, "header is empty; name at least one or remove the key")
	}
	return "{" + strings.Join(shown, ", ") + "}"
}

func (f *file) regexp(n ast.Node, what string) *regexp.Regexp {
	text, ok := f.text(n, what)
	if !ok {
		return nil
	}
	re, err := regexp.Compile(text)
	if err != nil {
		f.fail(n, "%s is no regular expression (RE2): %v", what, err)
		return nil
	}
	return re
}
