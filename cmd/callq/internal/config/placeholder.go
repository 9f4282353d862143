package config

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// Text returns the value of a secret that is written in the file itself. ok is false if
// any part of it is a reference.
func (s Secret) Text() (text string, ok bool) {
	if s.IsZero() || s.Kind() != Literal {
		return "", false
	}
	text, err := s.Read()
	return text, err == nil
}

// Key returns the key of the value, as in upstreams.a.auth.token.
func (s Secret) Key() string {
	if s.get == nil {
		return ""
	}
	return s.get().key
}

// These are spellings of variables in other programs. The name is the last group.
var (
	variable = regexp.MustCompile(`^["']?(?:(?:Bearer|Token|Basic) )?(?:\$\{?|%|\$env:|\$\(|\{\{ ?[$.]?(?:env\.|secrets\.|Values\.)?|\$\{\{ ?(?:env\.|secrets\.|vars\.)?|process\.env\.|<%= ?)([A-Za-z_][A-Za-z0-9_.]*)[^A-Za-z0-9]*$`)
	// bare is a shell variable without braces. A password may look like one.
	bare = regexp.MustCompile(`^["']?(?:(?:Bearer|Token|Basic) )?\$[A-Za-z_]`)
	// standIn are words that people write until they insert the secret.
	standIn = regexp.MustCompile(`(?i)^(?:<[^>]*>|\[[^\]]*\]|\{[^}]*\}|(?:change|replace|fill|insert|put)[-_ ]?(?:me|this|in|it|here).*|to[-_ ]?do|tbd|fixme|none|null|undefined|placeholder|example|dummy|x{3,}|\*{3,}|\.{3,}|…|(?:my|your|the|some|an?)[-_ ](?:[a-z]+[-_ ])*(?:token|key|secret|password|credential|value|api[-_ ]?key)(?:[-_ ]?here)?|(?:token|key|secret|password|api[-_ ]?key|access[-_ ]?token)(?:[-_ ]?here)?)$`)
)

// Placeholder reports whether a value written in the file is a placeholder for a secret:
// $TOKEN, %TOKEN%, {{TOKEN}}, <your token>, changeme. name is the variable that it names,
// or "".
func Placeholder(text string) (name string, ok bool) {
	text = strings.TrimSpace(text)
	if m := variable.FindStringSubmatch(text); m != nil && (!bare.MatchString(text) || m[1] == strings.ToUpper(m[1]) || standIn.MatchString("my_"+m[1])) {
		parts := strings.Split(m[1], ".")
		return parts[len(parts)-1], true
	}
	return "", standIn.MatchString(text)
}

// Unresolved returns the error that a value is a placeholder for a secret, or nil if it
// does not look like one.
func (s Secret) Unresolved() *yamlfile.Error {
	text, ok := s.Text()
	if !ok {
		return nil
	}
	name, ok := Placeholder(text)
	if !ok {
		return nil
	}
	if name == "" {
		return s.Pos().Errorf(`%s is the text %q, which looks like a placeholder; write %s`, s.Key(), text, s.reference(""))
	}
	return s.Pos().Errorf(`%s is the text %q, not the value of a variable; write %s`, s.Key(), text, s.reference(name))
}

// InFile returns the error that a secret is written in the file itself.
func (s Secret) InFile() *yamlfile.Error {
	return s.Pos().Errorf("%s is written in this file, where everybody who reads or copies the file sees it; write %s and set the variable, or refer to a file with ${file:PATH}", s.Key(), s.reference(""))
}

// reference returns the reference to a variable that can replace the value.
func (s Secret) reference(name string) string {
	if name == "" {
		name = variableOf(s.Key())
	}
	return fmt.Sprintf(`"${env:%s}"`, name)
}

// variableOf returns the name of a variable for a key: MY_API_TOKEN for
// upstreams.my-api.auth.token.
func variableOf(key string) string {
	parts := strings.Split(key, ".")
	name := parts[len(parts)-1]
	switch {
	case parts[0] == "upstreams" && len(parts) > 2:
		name = parts[1] + "_" + name
	default:
		name = "callq_" + name
	}
	return strings.ToUpper(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.TrimLeft(name, "0123456789-")))
}
