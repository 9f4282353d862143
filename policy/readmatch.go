package policy

import (
	"net/textproto"
	"regexp"
	"strconv"
	"strings"

	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// readMatch reads the match of a rule. It also keeps each field as YAML, in the form
// that show and explain print.
func (f *file) readMatch(v yamlfile.Value) match {
	m := match{shown: map[field]string{}}
	found := func(fd field, shown string) {
		m.fields |= fd
		m.shown[fd] = shown
	}
	v.Mapping(yamlfile.Fields{
		"code": func(v yamlfile.Value) { found(fieldCode, f.readCodes(v, &m)) },
		"http": func(v yamlfile.Value) { found(fieldHTTP, f.readStatuses(v, &m)) },
		"transport": func(v yamlfile.Value) {
			set, shown := readSet(v, transports)
			m.transport = set
			found(fieldTransport, shown)
		},
		"body": func(v yamlfile.Value) {
			set, shown := readSet(v, bodies)
			m.body = set
			found(fieldBody, shown)
		},
		"status_flag": func(v yamlfile.Value) {
			m.flag = readFlag(v)
			found(fieldFlag, quote(string(m.flag)))
		},
		"message": func(v yamlfile.Value) {
			if m.message = readRegexp(v); m.message != nil {
				found(fieldMessage, quote(m.message.String()))
			}
		},
		"endpoint": func(v yamlfile.Value) { found(fieldEndpoint, f.readEndpoints(v, &m)) },
		"where":    func(v yamlfile.Value) { found(fieldWhere, f.readWhere(v, &m)) },
		"header":   func(v yamlfile.Value) { found(fieldHeader, f.readHeaders(v, &m)) },
		"idempotent": func(v yamlfile.Value) {
			m.idempotent, _ = v.Bool()
			found(fieldIdempotent, strconv.FormatBool(m.idempotent))
		},
		"conditional": func(v yamlfile.Value) {
			m.conditional, _ = v.Bool()
			found(fieldConditional, strconv.FormatBool(m.conditional))
		},
		"limit_used_up": func(v yamlfile.Value) {
			m.limitUsedUp, _ = v.Bool()
			found(fieldLimitUsedUp, strconv.FormatBool(m.limitUsedUp))
		},
	})
	return m
}

// flow writes a list in YAML's flow style.
func flow[T ~string](items []T) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = string(item)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func (f *file) readCodes(v yamlfile.Value, m *match) string {
	var shown []string
	v.NonEmptyList(func(item yamlfile.Value) {
		text, ok := item.Scalar()
		if !ok {
			return
		}
		if text == "none" || text == "any" {
			m.noCode, m.anyCode = m.noCode || text == "none", m.anyCode || text == "any"
			shown = append(shown, text)
			return
		}
		number, isNumber := splitNumber(text)
		switch kind := item.Kind(); {
		case isNumber:
		case kind == yamlfile.KindBool:
			item.Failf("is %s; put it in quotes", text)
			return
		case kind != yamlfile.KindString:
			item.Failf("is %s; write it in decimal digits, or in quotes", text)
			return
		default:
			f.readCodeWord(item, text, m, &shown)
			return
		}
		if len(number.whole)+len(number.fraction) > maxCodeDigits {
			item.Failf("is a number of more than %d digits", maxCodeDigits)
			return
		}
		// 010 is eight to some readers of YAML and ten to others.
		if len(text) > 1 && text[0] == '0' && onlyDigits(text) && item.Kind() != yamlfile.KindString {
			item.Failf("is %s; write it without leading zeros", text)
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
func (f *file) readStatuses(v yamlfile.Value, m *match) string {
	var shown []string
	v.NonEmptyList(func(item yamlfile.Value) {
		text, ok := item.Scalar()
		if !ok {
			return
		}
		from, to, ok := parseStatuses(text)
		if !ok {
			item.Failf(`is %q; write a status from 100 to 599, a class such as "5xx" or a range such as "500-599"`, text)
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

// readSet reads words of a closed set and returns them as bits and as YAML.
func readSet[T ~string](v yamlfile.Value, values []T) (uint16, string) {
	var set uint16
	var shown []string
	v.NonEmptyList(func(item yamlfile.Value) {
		if value, ok := yamlfile.OneOf(item, values...); ok {
			set |= bit(values, value)
			shown = append(shown, string(value))
		}
	})
	return set, flow(shown)
}

// readFlag reads "true", "false" or absent; true and false need no quotes.
func readFlag(v yamlfile.Value) Flag {
	if v.Kind() == yamlfile.KindBool {
		b, _ := v.Bool()
		return Flag(strconv.FormatBool(b))
	}
	flag, _ := yamlfile.OneOf(v, FlagTrue, FlagFalse, FlagAbsent)
	return flag
}

func (f *file) readEndpoints(v yamlfile.Value, m *match) string {
	var shown []string
	v.NonEmptyList(func(item yamlfile.Value) {
		if e, ok := yamlfile.ParseText(item, ParsePattern); ok {
			m.endpoints = append(m.endpoints, e)
			shown = append(shown, quote(e.String()))
		}
	})
	return flow(shown)
}

func (f *file) readHeaders(v yamlfile.Value, m *match) string {
	var shown []string
	before := f.Failures()
	v.Each(func(name string, value yamlfile.Value) {
		pattern := readRegexp(value)
		if pattern == nil {
			return
		}
		if strings.ContainsAny(name, " \t\r\n:") || name == "" {
			value.FailKeyf("is not a header name")
			return
		}
		m.headers = append(m.headers, headerMatch{name: textproto.CanonicalMIMEHeaderKey(name), pattern: pattern})
		shown = append(shown, quote(name)+": "+quote(pattern.String()))
	})
	if len(m.headers) == 0 && f.Failures() == before {
		v.Failf("is empty; name at least one header, or remove the key")
	}
	return "{" + strings.Join(shown, ", ") + "}"
}

// readRegexp reads a regular expression. An empty one matches anything.
func readRegexp(v yamlfile.Value) *regexp.Regexp {
	text, ok := v.AnyText()
	if !ok {
		return nil
	}
	re, err := regexp.Compile(text)
	if err != nil {
		v.Failf("is not a regular expression (RE2): %v", err)
		return nil
	}
	return re
}
