package draft

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-2903acc3/callq/internal/plaintext"
	"github.com/seed-2903acc3/callq/policy"
)

// introduction is the comment at the beginning of a draft.
func introduction(o Options, answers, rules int) string {
	return fmt.Sprintf(`# %s: a policy to start from, made of %s that no rule knew.
#
# Each rule below is for the answers of one status and error code. An active rule decides as %s does, so
# this file changes no decision yet. Decide for each rule what its answers mean, and give it a message for end users
# and an advice for the operator. A rule that is a comment would change decisions: remove its # when you have decided.
# Then run callq policy lint and callq policy test. callq help policy explains the keys.
`, o.Name, plural(answers, "answer"), o.Extends)
}

func head(o Options) string {
	return fmt.Sprintf("version: 1\nname: %s\nextends: %s\n", quote(o.Name), quote(o.Extends))
}

// readBlock is the block read as a draft has it: what the extended policy reads already
// is not proposed again.
func readBlock(base *policy.Policy, r reading) string {
	if tried(base, policy.ReadingCode) != "" {
		return "\n# " + clean("The extended policy reads the error code at "+tried(base, policy.ReadingCode), 300) + ".\n" +
			placesLine("# read: {code", r.code, "}")
	}
	var b strings.Builder
	b.WriteString("\n# Where the answers have their error code and their message, as their shapes suggest.\nread:\n")
	if len(r.code) == 0 {
		b.WriteString("  # The answers have no member that looks like an error code.\n  code: []\n")
	}
	b.WriteString(placesLine("  code", r.code, ""))
	if tried(base, policy.ReadingMessage) == "" {
		b.WriteString(placesLine("  message", r.message, ""))
	}
	if tried(base, policy.ReadingCorrelationID) == "" {
		b.WriteString(placesLine("  correlation_id", r.correlationID, ""))
	}
	if len(r.ok) > 0 && tried(base, policy.ReadingOK) == "" {
		b.WriteString("  # A success flag; with it a JSON answer that has no flag counts as malformed:\n")
		b.WriteString(placesLine("  # ok", r.ok, ""))
	}
	return b.String()
}

func placesLine(key string, places []string, end string) string {
	if len(places) == 0 {
		return ""
	}
	quoted := make([]string, len(places))
	for i, one := range places {
		if quoted[i] = one; !strings.HasPrefix(one, "{") {
			quoted[i] = quote(one)
		}
	}
	return key + ": [" + strings.Join(quoted, ", ") + "]" + end + "\n"
}

// waitBlock proposes where answers say when to call again.
func waitBlock(answers []Answer, bodies []any) string {
	sources := proposeWaits(bodies)
	if len(sources) == 0 {
		return ""
	}
	return "\n# These members seem to say when to call again. Check the unit:\n# holds:\n#   quota: {sources: [retry-after, " +
		strings.Join(sources, ", ") + ", ratelimit-reset, ladder]}\n"
}

// mostShare: a refusal that is more than this part of all results has a hint.
const mostShare = 3

// ruleText is one rule with its comments. results is how many results there are; 0: not
// known.
func ruleText(g *group, v verdict, active bool, base string, readsCode bool, results int) string {
	var b strings.Builder
	comment := func(format string, args ...any) { fmt.Fprintf(&b, "  # "+format+"\n", args...) }
	b.WriteString("\n")
	comment("%s: HTTP %d%s, %s; first %s.", plural(g.count, "answer"), g.status, orNothing(", code ", clean(g.code, 60)),
		clean(shapes(g), 200), clean(g.kinds[0].first.Key, 60))
	if g.message != "" {
		comment("The first says: %s", quote(clean(g.message, 160)))
	}
	if g.bare {
		comment("They have no body, and no header was recorded. If a header says more, name it in keep_headers of callq.yaml.")
	}
	if results > 0 && g.status >= 400 && g.count*mostShare >= results {
		comment("That is %d of %s. If they refuse calls that come too fast, decide job: park, and set limits in", g.count, plural(results, "result"))
		comment("callq.yaml, or pace here if each answer says what is left, so that few calls are refused.")
	}
	hint := suggest(g.code, g.message)
	switch {
	case v.Action == policy.ActionSucceed:
		comment("These calls end as done: the rule %s of %s takes the answer for a success.", v.Rule, clean(base, 100))
	case !active:
		comment("The rule %s of %s decides, which looks at more than status and code (%s).", v.Rule, clean(base, 100), v.why)
	}
	lines := decisionLines(v.Decision)
	switch {
	case hint != nil && hint.class != v.Class && active:
		comment("The words suggest that %s. If that is so, decide:", hint.says)
		for _, line := range hint.decision {
			comment("  %s", line)
		}
	case hint != nil && v.Action == policy.ActionSucceed:
		comment("The words suggest that %s.", hint.says)
		lines = hint.decision
	case v.Action == policy.ActionSucceed:
		lines = []string{"class: unknown", "job: dead_letter", "circuit: {effect: none}"}
	}
	margin := "  "
	if !active {
		margin = "  # "
	}
	fmt.Fprintf(&b, "%s- id: %s\n%s  match: %s\n", margin, g.id, margin, matchText(g, readsCode))
	for i, line := range lines {
		if i == 0 && active {
			line += "   # as the rule " + v.Rule + " of " + clean(base, 100)
		}
		fmt.Fprintf(&b, "%s  %s\n", margin, line)
	}
	return b.String()
}

func shapes(g *group) string {
	var texts []string
	for _, k := range g.kinds[:min(len(g.kinds), 3)] {
		texts = append(texts, k.shape)
	}
	if len(g.kinds) > 3 {
		texts = append(texts, "…")
	}
	return strings.Join(texts, " or ")
}

func matchText(g *group, readsCode bool) string {
	text := "{http: [" + strconv.Itoa(g.status) + "]"
	switch {
	case g.code == "" && readsCode:
		text += ", code: [none]"
	case g.code != "":
		text += ", code: [" + quote(g.code) + "]"
	}
	return text + "}"
}

// decisionLines are the lines of a rule that decide the same.
func decisionLines(d policy.Decision) []string {
	lines := []string{"class: " + string(d.Class), "job: " + string(d.Action)}
	if d.Refresh {
		lines = append(lines, "refresh: true")
	}
	if d.FreshKey {
		lines = append(lines, "fresh_key: true")
	}
	if d.Action == policy.ActionRetry {
		lines = append(lines, "backoff: "+quote(d.Backoff))
	}
	c := d.Circuit
	circuit := "circuit: {effect: " + string(c.Effect)
	if c.Effect == policy.EffectOpen {
		circuit += fmt.Sprintf(", scope: %s, hold: %s, after: %d", c.Scope, quote(c.Hold), c.After)
		if c.MaxProbes > 0 {
			circuit += fmt.Sprintf(", max_probes: %d", c.MaxProbes)
		}
	} else if c.Effect == policy.EffectCount && c.Scope != policy.ScopeAccount {
		circuit += ", scope: " + string(c.Scope)
	}
	return append(lines, circuit+"}")
}

func headers(h http.Header) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		parts = append(parts, quote(name)+": "+quote(clean(strings.Join(h[name], ", "), 500)))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// bodyText writes a body as a YAML string: between single quotes where it is plain text in
// one line, else between double quotes.
func bodyText(body []byte) string {
	text := string(body)
	printable := !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > 0x7e })
	if printable && balanced(text) {
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	return quote(text)
}

// quote writes a text between double quotes, in a form that is valid in YAML and JSON.
func quote(s string) string {
	text, err := encode(s)
	if err != nil {
		return strconv.Quote(s)
	}
	// The parser counts brackets, also those in strings.
	if !balanced(s) {
		for _, c := range []string{"[", "]", "{", "}"} {
			text = bytes.ReplaceAll(text, []byte(c), fmt.Appendf(nil, `\u%04x`, c[0]))
		}
	}
	return string(text)
}

// balanced reports whether each bracket of a text is closed, and few are open at once.
func balanced(s string) bool {
	const deepest = 30
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		}
		if depth < 0 || depth > deepest {
			return false
		}
	}
	return depth == 0
}

// clean makes text from outside fit for a comment of one line.
func clean(s string, limit int) string {
	s = plaintext.Clean(s, limit)
	if !balanced(s) {
		s = strings.NewReplacer("[", "(", "]", ")", "{", "(", "}", ")").Replace(s)
	}
	return s
}

func orNothing(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}
