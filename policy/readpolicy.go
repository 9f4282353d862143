package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/seed-2903acc3/callq/policy/calendar"
)

// The names that every policy has, whether its file defines them or not.
const (
	backoffStandard = "standard"
	backoffBrief    = "brief"
	holdQuota       = "quota"
)

// file is a policy file as it was read, before what it extends is added.
type file struct {
	*source
	name      string
	extends   string
	extendsAt position
	backoffs  map[string]Backoff
	holds     map[string]Hold
	breaker   *Breaker
	upstream  Upstream
	rules     []rule
	// notes are findings of lint that do not keep the file from working.
	notes Errors
}

var (
	classes = []Class{
		ClassOK, ClassBadParameter, ClassTransient, ClassQuota, ClassAuth, ClassBalance, ClassConfig, ClassProtocol, ClassUnknown, ClassOutcomeUnknown,
		ClassMalformedTask, ClassCrashLoop, ClassExpired, ClassCancelled,
	}
	actions = []Action{ActionSucceed, ActionRetry, ActionPark, ActionDeadLetter, ActionDrop}
	effects = []Effect{EffectNone, EffectCount, EffectOpen}
	scopes  = []Scope{ScopeAccount, ScopeEndpoint}
)

// readFile reads one policy file and checks all that can be told from it alone.
func readFile(filename string, data []byte) *file {
	s, root := openSource(filename, data)
	f := &file{source: s, name: baseName(filename), backoffs: map[string]Backoff{}, holds: map[string]Hold{}}
	if root == nil {
		if len(f.errs) == 0 {
			f.errs = append(f.errs, &Error{File: filename, Line: 1, Column: 1, Message: "the policy file is empty; it begins with: version: 1"})
		}
		return f
	}
	f.mapping(root, "a policy file", map[string]entry{
		"version": func(v ast.Node) {
			if n, ok := f.integer(v, "version", 1); ok && n != 1 {
				f.fail(v, "version %d is not known; this callq reads version 1", n)
			}
		},
		"name": func(v ast.Node) {
			if name, ok := f.text(v, "name"); ok {
				f.name = name
			}
		},
		"extends": func(v ast.Node) {
			f.extends, _ = f.text(v, "extends")
			f.extendsAt = f.position(v)
			if f.extends == "" {
				f.fail(v, "extends names a preset (%s) or a file", strings.Join(Presets(), ", "))
			}
		},
		"backoffs": func(v ast.Node) {
			f.pairs(v, "backoffs", func(_, value ast.Node, name string) { f.backoffs[name] = f.readBackoff(value) })
		},
		"holds": func(v ast.Node) {
			f.pairs(v, "holds", func(_, value ast.Node, name string) { f.holds[name] = f.readHold(value) })
		},
		"breaker":  func(v ast.Node) { f.breaker = f.readBreaker(v) },
		"upstream": func(v ast.Node) { f.readUpstream(v) },
		"rules": func(v ast.Node) {
			f.list(v, "rules", func(item ast.Node) { f.readRule(item) })
		},
	})
	return f
}

// baseName is what a policy is called whose file does not say.
func baseName(filename string) string {
	name := filename[strings.LastIndexAny(filename, `/\`)+1:]
	return strings.TrimSuffix(strings.TrimSuffix(name, ".yaml"), ".yml")
}

func (f *file) readBackoff(n ast.Node) Backoff {
	b := Backoff{
		Floor: time.Second, Base: 2 * time.Second, Cap: 10 * time.Minute, Attempts: 6, MaxAge: 24 * time.Hour,
		Sources: []Source{SourceRetryAfter},
	}
	f.mapping(n, "a backoff", map[string]entry{
		"floor":    func(v ast.Node) { set(&b.Floor)(f.duration(v, "floor", 0)) },
		"base":     func(v ast.Node) { set(&b.Base)(f.duration(v, "base", 0)) },
		"cap":      func(v ast.Node) { set(&b.Cap)(f.duration(v, "cap", 0)) },
		"attempts": func(v ast.Node) { set(&b.Attempts)(f.integer(v, "attempts", 1)) },
		"max_age":  func(v ast.Node) { set(&b.MaxAge)(f.duration(v, "max_age", 1)) },
		"sources": func(v ast.Node) {
			b.Sources = nil
			f.list(v, "sources", func(item ast.Node) {
				if source, ok := oneOf(f.source, item, "a source of a backoff", backoffSources); ok {
					b.Sources = append(b.Sources, source)
				}
			})
		},
	})
	return b
}

// set stores a value that could be read.
func set[T any](into *T) func(T, bool) {
	return func(v T, ok bool) {
		if ok {
			*into = v
		}
	}
}

func (f *file) readHold(n ast.Node) Hold {
	h := Hold{
		Sources: slices.Clone(holdSources), Max: defaultMax,
		Ladder: []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour},
	}
	f.mapping(n, "a hold", map[string]entry{
		"sources": func(v ast.Node) {
			h.Sources = nil
			f.some(v, "sources", func(item ast.Node) {
				if source, ok := oneOf(f.source, item, "a source", holdSources); ok {
					h.Sources = append(h.Sources, source)
				}
			})
		},
		"max":      func(v ast.Node) { set(&h.Max)(f.duration(v, "max", 1)) },
		"calendar": func(v ast.Node) { h.Calendar = f.readCalendar(v) },
		"ladder": func(v ast.Node) {
			h.Ladder = nil
			f.some(v, "ladder", func(item ast.Node) {
				if d, ok := f.duration(item, "a rung of the ladder", 1); ok {
					h.Ladder = append(h.Ladder, d)
				}
			})
		},
	})
	if h.Calendar != nil && !slices.Contains(h.Sources, SourceCalendar) {
		f.note(f.position(n), "this hold has a calendar that is never asked: add calendar to its sources")
	}
	return h
}

func (f *file) note(at position, message string) {
	f.notes = append(f.notes, &Error{File: at.file, Line: at.line, Column: at.col, Message: message})
}

func (f *file) readCalendar(n ast.Node) *Calendar {
	expression, timezone := "0 0 * * *", "UTC"
	before := len(f.errs)
	read := func(into *string, name string, check func(string) error) entry {
		return func(v ast.Node) {
			set(into)(f.text(v, name))
			if err := check(*into); err != nil {
				f.fail(v, "%s %q %v", name, *into, err)
			}
		}
	}
	f.mapping(n, "a calendar", map[string]entry{
		"cron":     read(&expression, "cron", calendar.CheckCron),
		"timezone": read(&timezone, "timezone", calendar.CheckTimezone),
	})
	if len(f.errs) > before {
		return nil
	}
	c, err := NewCalendar(expression, timezone)
	if err != nil {
		f.fail(n, "%v", err)
		return nil
	}
	return c
}

func (f *file) readBreaker(n ast.Node) *Breaker {
	b := &Breaker{Window: 30 * time.Second, MinCalls: 20, Ratio: 0.5}
	f.mapping(n, "breaker", map[string]entry{
		"window":    func(v ast.Node) { set(&b.Window)(f.duration(v, "window", 1)) },
		"min_calls": func(v ast.Node) { set(&b.MinCalls)(f.integer(v, "min_calls", 1)) },
		"ratio": func(v ast.Node) {
			ratio, ok := f.float(v, "ratio")
			if ok && !(ratio > 0 && ratio <= 1) {
				f.fail(v, "ratio is a share above 0, at most 1")
				return
			}
			set(&b.Ratio)(ratio, ok)
		},
	})
	return b
}

// readRule reads one rule. Keys that are left out have these defaults: job
// retry, the class that goes with the action, backoff standard; the circuit counts
// a retry, opens on a park, and leaves the rest alone.
func (f *file) readRule(n ast.Node) {
	r := rule{at: f.position(n)}
	d := &r.decision
	var circuit, message ast.Node
	f.mapping(n, "a rule", map[string]entry{
		"id":      func(v ast.Node) { set(&r.id)(f.text(v, "id")) },
		"match":   func(v ast.Node) { r.match = f.readMatch(v) },
		"class":   func(v ast.Node) { d.Class, _ = oneOf(f.source, v, "class", classes) },
		"job":     func(v ast.Node) { d.Action, _ = oneOf(f.source, v, "job", actions) },
		"refresh": func(v ast.Node) { d.Refresh, _ = f.boolean(v, "refresh") },
		"backoff": func(v ast.Node) { d.Backoff, _ = f.text(v, "backoff"); r.backoffAt = f.position(v) },
		"circuit": func(v ast.Node) { circuit = v },
		"message": func(v ast.Node) { d.Message, _ = f.text(v, "message"); message = v },
		"advice":  func(v ast.Node) { d.Advice, _ = f.text(v, "advice") },
	})
	if r.id == "" {
		f.fail(n, "a rule needs an id, by which records and logs name it")
	}
	if slices.ContainsFunc(f.rules, func(other rule) bool { return other.id == r.id }) {
		f.fail(n, "the id %q is taken by an earlier rule of this file", r.id)
	}
	d.Rule = r.id
	orDefault(&d.Action, ActionRetry)
	orDefault(&d.Class, classOf(d.Action))
	if d.Action == ActionRetry {
		orDefault(&d.Backoff, backoffStandard)
	}
	f.readCircuit(circuit, &r)
	f.checkMessage(message, &r)
	orDefault(&d.Message, d.Class.Message())
	orDefault(&d.Advice, d.Class.Advice())
	d.Circuit.Success = d.Circuit.Effect == EffectNone
	f.rules = append(f.rules, r)
}

func orDefault[T ~string](v *T, fallback T) {
	if *v == "" {
		*v = fallback
	}
}

// classOf is the class that goes with an action where a rule gives none.
func classOf(a Action) Class {
	switch a {
	case ActionSucceed:
		return ClassOK
	case ActionPark:
		return ClassQuota
	case ActionDrop:
		return ClassBadParameter
	case ActionDeadLetter:
		return ClassUnknown
	default:
		return ClassTransient
	}
}

func (f *file) readCircuit(n ast.Node, r *rule) {
	c := &r.decision.Circuit
	if n == nil {
		switch r.decision.Action {
		case ActionRetry:
			c.Effect = EffectCount
		case ActionPark:
			c.Effect = EffectOpen
		default:
			c.Effect = EffectNone
		}
	} else {
		c.Effect = EffectOpen
		f.mapping(n, "circuit", map[string]entry{
			"effect":     func(v ast.Node) { set(&c.Effect)(oneOf(f.source, v, "effect", effects)) },
			"scope":      func(v ast.Node) { c.Scope, _ = oneOf(f.source, v, "scope", scopes) },
			"hold":       func(v ast.Node) { c.Hold, _ = f.text(v, "hold"); r.holdAt = f.position(v) },
			"after":      func(v ast.Node) { c.After, _ = f.integer(v, "after", 1) },
			"max_probes": func(v ast.Node) { c.MaxProbes, _ = f.integer(v, "max_probes", 0) },
		})
		if r.decision.Action == ActionPark && c.Effect != EffectOpen {
			f.fail(n, "a rule that parks needs a circuit of effect open: its hold says until when")
		}
	}
	orDefault(&c.Scope, ScopeAccount)
	if c.Effect == EffectOpen {
		orDefault(&c.Hold, holdQuota)
		c.After = max(c.After, 1)
	} else {
		c.After, c.MaxProbes = 0, 0
	}
}

// checkMessage notes a raw code in what end users read.
func (f *file) checkMessage(n ast.Node, r *rule) {
	for _, code := range r.match.codes {
		if len(code) > 2 && strings.Contains(r.decision.Message, code) {
			f.note(f.position(n), "the message is for end users and holds the raw code "+code)
			return
		}
	}
}

// checkReach finds rules of this file that can never be reached, since one
// earlier rule of the same file takes all that they match. The rules are those
// of the joined policy, where one that replaces another stands in its place.
func (f *file) checkReach(rules []rule) {
	if len(f.errs) > 0 {
		return
	}
	mine := slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return r.at.file != f.file })
	for i := range mine {
		for j := range mine[:i] {
			if mine[j].match.covers(&mine[i].match) {
				f.failAt(mine[i].at, "rule %q is never reached: rule %q on line %d takes all that it matches; move it up or remove it",
					mine[i].id, mine[j].id, mine[j].at.line)
				break
			}
		}
	}
}
