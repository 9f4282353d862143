package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-2903acc3/callq/internal/shortduration"
)

// YAML returns the policy as one file that includes everything that it extends. [Parse]
// turns it into a policy that makes the same decisions. Rules that are never reached are
// written as comments.
func (p *Policy) YAML() []byte {
	var w bytes.Buffer
	fmt.Fprintf(&w, "version: 1\nname: %s\n", quote(p.name))
	w.WriteString("\nbackoffs:\n")
	for _, name := range slices.Sorted(maps.Keys(p.backoffs)) {
		b := p.backoffs[name]
		fmt.Fprintf(&w, "  %s: {floor: %s, base: %s, cap: %s, attempts: %d, max_age: %s, sources: %s}\n", key(name),
			shortduration.Text(b.Floor), shortduration.Text(b.Base), shortduration.Text(b.Cap), b.Attempts, shortduration.Text(b.MaxAge), flow(b.Sources))
	}
	w.WriteString("\nholds:\n")
	for _, name := range slices.Sorted(maps.Keys(p.holds)) {
		fmt.Fprintf(&w, "  %s: %s\n", key(name), p.holds[name].yaml())
	}
	fmt.Fprintf(&w, "\nbreaker: {window: %s, min_calls: %d, ratio: %s}\n", shortduration.Text(p.breaker.Window), p.breaker.MinCalls,
		strconv.FormatFloat(p.breaker.Ratio, 'f', -1, 64))
	p.upstream.yaml(&w)
	p.reading.yaml(&w)
	pacesYAML(&w, p.paces)
	w.WriteString("\nrules:\n")
	from := ""
	for i := range p.rules {
		r := &p.rules[i]
		if r.at.File != from {
			from = r.at.File
			fmt.Fprintf(&w, "  # from %s\n", strings.Map(printable, from))
		}
		if by := p.coveredBy(i); by != "" {
			fmt.Fprintf(&w, "  # %s: never reached, rule %s matches everything that it matches\n", quote(r.id), quote(by))
			continue
		}
		r.yaml(&w)
	}
	return w.Bytes()
}

// coveredBy returns the id of an earlier rule that matches everything that rule i
// matches, or "".
func (p *Policy) coveredBy(i int) string {
	for j := range p.rules[:i] {
		if p.rules[j].match.covers(&p.rules[i].match) {
			return p.rules[j].id
		}
	}
	return ""
}

func (h Hold) yaml() string {
	var w strings.Builder
	fmt.Fprintf(&w, "{sources: %s, max: %s", flow(h.Sources), shortduration.Text(h.Max))
	if h.Calendar != nil {
		fmt.Fprintf(&w, ", calendar: {cron: %s, timezone: %s}", quote(h.Calendar.Cron()), quote(h.Calendar.Timezone()))
	}
	ladder := make([]string, len(h.Ladder))
	for i, d := range h.Ladder {
		ladder[i] = shortduration.Text(d)
	}
	fmt.Fprintf(&w, ", ladder: %s}", flow(ladder))
	return w.String()
}

func (r *rule) yaml(w *bytes.Buffer) {
	fmt.Fprintf(w, "  - id: %s\n", quote(r.id))
	if r.match.fields != 0 {
		fmt.Fprintf(w, "    match: %s\n", r.match.yaml())
	}
	d := r.decision
	fmt.Fprintf(w, "    class: %s\n    job: %s\n", d.Class, d.Action)
	if d.Refresh {
		w.WriteString("    refresh: true\n")
	}
	if d.FreshKey {
		w.WriteString("    fresh_key: true\n")
	}
	if d.Action == ActionRetry {
		fmt.Fprintf(w, "    backoff: %s\n", quote(d.Backoff))
	}
	c := d.Circuit
	fmt.Fprintf(w, "    circuit: {effect: %s, scope: %s", c.Effect, c.Scope)
	if c.Effect == EffectOpen {
		fmt.Fprintf(w, ", hold: %s, after: %d, max_probes: %d", quote(c.Hold), c.After, c.MaxProbes)
	}
	fmt.Fprintf(w, "}\n    message: %s\n    advice: %s\n", quote(d.Message), quote(d.Advice))
}

func (m *match) yaml() string {
	var parts []string
	for f := fieldCode; f < fieldEnd; f <<= 1 {
		if m.fields&f != 0 {
			parts = append(parts, f.String()+": "+m.shown[f])
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// quote writes a text in double quotes, in a form that is valid YAML and JSON.
func quote(s string) string {
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		// Unreachable: a string always has a JSON form.
		return strconv.Quote(s)
	}
	return strings.TrimSuffix(w.String(), "\n")
}

// key writes a key, in quotes if YAML could read it as something else than a name.
func key(s string) string {
	for i := 0; i < len(s); i++ {
		if !isAlpha(s[i]) && (i == 0 || !isDigit(s[i]) && s[i] != '-' && s[i] != '_') {
			return quote(s)
		}
	}
	switch strings.ToLower(s) {
	case "", "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return quote(s)
	}
	return s
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return '?'
	}
	return r
}
