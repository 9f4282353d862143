package policy

import "strings"

// maxStructuredField bounds what is read of a field that a server sent.
const maxStructuredField = 8 << 10

// structuredParser reads a List of RFC 9651, as far as it takes to find the
// parameters of its members. As the RFC wants, one mistake fails the field.
type structuredParser struct{ rest string }

// parseStructuredList gives each member's parameters, as written; of a
// parameter given twice, the last.
func parseStructuredList(s string) ([]map[string]string, bool) {
	if len(s) > maxStructuredField {
		return nil, false
	}
	p := structuredParser{rest: strings.Trim(s, " ")}
	if p.rest == "" {
		return nil, false
	}
	var items []map[string]string
	for {
		if !p.member() {
			return nil, false
		}
		params, ok := p.parameters()
		if !ok {
			return nil, false
		}
		items = append(items, params)
		p.rest = strings.TrimLeft(p.rest, " \t")
		if p.rest == "" {
			return items, true
		}
		if !p.take(',') {
			return nil, false
		}
		p.rest = strings.TrimLeft(p.rest, " \t")
	}
}

func (p *structuredParser) take(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// member reads an item or an inner list, without what belongs to it.
func (p *structuredParser) member() bool {
	if !p.take('(') {
		_, ok := p.bareItem()
		return ok
	}
	for {
		p.rest = strings.TrimLeft(p.rest, " ")
		if p.take(')') {
			return true
		}
		if _, ok := p.bareItem(); !ok {
			return false
		}
		if _, ok := p.parameters(); !ok {
			return false
		}
		if p.rest == "" || (p.rest[0] != ' ' && p.rest[0] != ')') {
			return false
		}
	}
}

func (p *structuredParser) parameters() (map[string]string, bool) {
	params := map[string]string{}
	for p.take(';') {
		p.rest = strings.TrimLeft(p.rest, " ")
		key := p.while(func(c byte) bool { return isLower(c) || isDigit(c) || strings.IndexByte("_-.*", c) >= 0 })
		if key == "" || (!isLower(key[0]) && key[0] != '*') {
			return nil, false
		}
		value := "?1"
		if p.take('=') {
			var ok bool
			if value, ok = p.bareItem(); !ok {
				return nil, false
			}
		}
		params[key] = value
	}
	return params, true
}

// bareItem reads a value and gives it as written; strings with their quotes, so
// that "5" is not taken for 5.
func (p *structuredParser) bareItem() (string, bool) {
	if p.rest == "" {
		return "", false
	}
	switch c := p.rest[0]; {
	case c == '"':
		return p.quoted()
	case c == '-' || isDigit(c):
		sign := ""
		if p.take('-') {
			sign = "-"
		}
		text := p.while(func(c byte) bool { return isDigit(c) || c == '.' })
		whole, fraction, point := strings.Cut(text, ".")
		if whole == "" || len(whole) > 15 || point && (fraction == "" || len(fraction) > 3 || !onlyDigits(fraction)) {
			return "", false
		}
		return sign + text, true
	case c == '?':
		p.rest = p.rest[1:]
		if p.take('1') {
			return "?1", true
		}
		return "?0", p.take('0')
	case c == ':':
		p.rest = p.rest[1:]
		text := p.while(func(c byte) bool { return isAlpha(c) || isDigit(c) || strings.IndexByte("+/=", c) >= 0 })
		return ":" + text + ":", p.take(':')
	case c == '@':
		p.rest = p.rest[1:]
		if p.rest == "" || p.rest[0] == '@' {
			return "", false
		}
		text, ok := p.bareItem()
		return "@" + text, ok && onlyDigits(strings.TrimPrefix(text, "-"))
	case c == '%':
		p.rest = p.rest[1:]
		return p.quoted()
	case isAlpha(c) || c == '*':
		return p.while(func(c byte) bool {
			return isAlpha(c) || isDigit(c) || strings.IndexByte("!#$%&'*+-.^_`|~:/", c) >= 0
		}), true
	}
	return "", false
}

func (p *structuredParser) quoted() (string, bool) {
	if !p.take('"') {
		return "", false
	}
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '\\':
			i++
			if i == len(p.rest) || (p.rest[i] != '"' && p.rest[i] != '\\') {
				return "", false
			}
		case c == '"':
			text := p.rest[:i]
			p.rest = p.rest[i+1:]
			return `"` + text + `"`, true
		case c < 0x20 || c > 0x7e:
			return "", false
		}
	}
	return "", false
}

func (p *structuredParser) while(in func(byte) bool) string {
	i := 0
	for i < len(p.rest) && in(p.rest[i]) {
		i++
	}
	text := p.rest[:i]
	p.rest = p.rest[i:]
	return text
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
func isAlpha(c byte) bool { return isLower(c | 0x20) }
