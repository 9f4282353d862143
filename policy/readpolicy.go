package policy

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy/calendar"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// The names that every policy has, whether its file defines them or not.
const (
	backoffStandard = "standard"
	backoffBrief    = "brief"
	holdQuota       = "quota"
)

// file is a policy file as it was read, before what it extends is added.
type file struct {
	*yamlfile.File
	name      string
	extends   string
	extendsAt yamlfile.Pos
	backoffs  map[string]Backoff
	holds     map[string]Hold
	breaker   *Breaker
	reading   reading
	paces     []pace
	upstream  Upstream
	rules     []rule
	// notes are the warnings of lint. The policy works in spite of them.
	notes yamlfile.Errors
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

// readFile reads one policy file and checks all that can be checked without the files
// that it extends.
func readFile(filename string, data []byte) *file {
	opened, root := yamlfile.Parse(filename, "the policy file", data)
	f := &file{File: opened, name: baseName(filename), backoffs: map[string]Backoff{}, holds: map[string]Hold{}}
	if root.IsZero() {
		if f.Failures() == 0 {
			f.Failf(yamlfile.Pos{File: filename, Line: 1, Column: 1}, "the policy file is empty; begin it with: version: 1")
		}
		return f
	}
	root.Mapping(yamlfile.Fields{
		"version": func(v yamlfile.Value) {
			if n, ok := v.Int(1, math.MaxInt32); ok && n != 1 {
				v.Failf("is %d; this callq reads version 1", n)
			}
		},
		"name": func(v yamlfile.Value) {
			if name, ok := v.Text(); ok {
				f.name = name
			}
		},
		"extends": func(v yamlfile.Value) {
			f.extends, _ = v.Text()
			f.extendsAt = v.Pos()
		},
		"backoffs": func(v yamlfile.Value) {
			v.Each(func(name string, value yamlfile.Value) { f.backoffs[name] = f.readBackoff(value) })
		},
		"holds": func(v yamlfile.Value) {
			v.Each(func(name string, value yamlfile.Value) { f.holds[name] = f.readHold(value) })
		},
		"breaker":  func(v yamlfile.Value) { f.breaker = f.readBreaker(v) },
		"upstream": func(v yamlfile.Value) { f.readUpstream(v) },
		"read":     func(v yamlfile.Value) { f.readReading(v) },
		"pace":     func(v yamlfile.Value) { f.paces = []pace{}; v.List(f.readPace) },
		"rules": func(v yamlfile.Value) {
			v.List(func(item yamlfile.Value) { f.readRule(item) })
		},
	})
	return f
}

// baseName returns the name of a policy whose file does not give one.
func baseName(filename string) string {
	name := filename[strings.LastIndexAny(filename, `/\`)+1:]
	return strings.TrimSuffix(strings.TrimSuffix(name, ".yaml"), ".yml")
}

func (f *file) readBackoff(v yamlfile.Value) Backoff {
	b := Backoff{
		Floor: time.Second, Base: 2 * time.Second, Cap: 10 * time.Minute, Attempts: 6, MaxAge: 24 * time.Hour,
		Sources: []Source{SourceRetryAfter},
	}
	v.Mapping(yamlfile.Fields{
		"floor":    func(v yamlfile.Value) { set(&b.Floor)(v.Duration(true)) },
		"base":     func(v yamlfile.Value) { set(&b.Base)(v.Duration(true)) },
		"cap":      func(v yamlfile.Value) { set(&b.Cap)(v.Duration(true)) },
		"attempts": func(v yamlfile.Value) { set(&b.Attempts)(v.Int(1, math.MaxInt32)) },
		"max_age":  func(v yamlfile.Value) { set(&b.MaxAge)(v.Duration(false)) },
		"sources": func(v yamlfile.Value) {
			b.Sources = nil
			v.List(func(item yamlfile.Value) {
				if source, ok := f.readSource(item, &b.waits, backoffSources...); ok {
					b.Sources = append(b.Sources, source)
				}
			})
		},
	})
	return b
}

// set returns a function that stores a value if it could be read.
func set[T any](into *T) func(T, bool) {
	return func(v T, ok bool) {
		if ok {
			*into = v
		}
	}
}

func (f *file) readHold(v yamlfile.Value) Hold {
	h := Hold{
		Sources: slices.Clone(holdSources), Max: defaultMax,
		Ladder: []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour},
	}
	v.Mapping(yamlfile.Fields{
		"sources": func(v yamlfile.Value) {
			h.Sources = nil
			v.NonEmptyList(func(item yamlfile.Value) {
				if source, ok := f.readSource(item, &h.waits, holdSources...); ok {
					h.Sources = append(h.Sources, source)
				}
			})
		},
		"max":      func(v yamlfile.Value) { set(&h.Max)(v.Duration(false)) },
		"calendar": func(v yamlfile.Value) { h.Calendar = f.readCalendar(v) },
		"ladder": func(v yamlfile.Value) {
			h.Ladder = nil
			v.NonEmptyList(func(item yamlfile.Value) {
				if d, ok := item.Duration(false); ok {
					h.Ladder = append(h.Ladder, d)
				}
			})
		},
	})
	if h.Calendar != nil && !slices.Contains(h.Sources, SourceCalendar) {
		f.note(v.Pos(), "this hold has a calendar that is never used: add calendar to its sources")
	}
	return h
}

func (f *file) note(at yamlfile.Pos, message string) {
	f.notes = append(f.notes, at.Errorf("%s", message))
}

// midnight is when a quota is reset if a calendar gives no cron expression.
var midnight, _ = calendar.ParseCron("0 0 * * *") // it is valid

func (f *file) readCalendar(v yamlfile.Value) *Calendar {
	before := f.Failures()
	cron, zone := midnight, time.UTC
	v.Mapping(yamlfile.Fields{
		"cron":     func(v yamlfile.Value) { set(&cron)(yamlfile.ParseText(v, calendar.ParseCron)) },
		"timezone": func(v yamlfile.Value) { set(&zone)(yamlfile.ParseText(v, calendar.ParseTimezone)) },
	})
	if f.Failures() > before {
		return nil
	}
	return &Calendar{cron.In(zone)}
}

func (f *file) readBreaker(v yamlfile.Value) *Breaker {
	b := &Breaker{Window: 30 * time.Second, MinCalls: 20, Ratio: 0.5}
	v.Mapping(yamlfile.Fields{
		"window":    func(v yamlfile.Value) { set(&b.Window)(v.Duration(false)) },
		"min_calls": func(v yamlfile.Value) { set(&b.MinCalls)(v.Int(1, math.MaxInt32)) },
		"ratio": func(v yamlfile.Value) {
			ratio, ok := v.Float()
			if ok && !(ratio > 0 && ratio <= 1) {
				v.Failf("is %v; write a number above 0 and at most 1", ratio)
				return
			}
			set(&b.Ratio)(ratio, ok)
		},
	})
	return b
}

// readRule reads one rule. The defaults are: job retry, the class that classOf returns,
// backoff standard, and for the circuit: effect count for a retry, open for a park, none
// for anything else.
func (f *file) readRule(v yamlfile.Value) {
	r := rule{at: v.Pos()}
	d := &r.decision
	var circuit, message yamlfile.Value
	v.Mapping(yamlfile.Fields{
		"id":        func(v yamlfile.Value) { set(&r.id)(v.Text()) },
		"match":     func(v yamlfile.Value) { r.match = f.readMatch(v) },
		"class":     func(v yamlfile.Value) { d.Class, _ = yamlfile.OneOf(v, classes...) },
		"job":       func(v yamlfile.Value) { d.Action, _ = yamlfile.OneOf(v, actions...) },
		"refresh":   func(v yamlfile.Value) { d.Refresh, _ = v.Bool() },
		"fresh_key": func(v yamlfile.Value) { d.FreshKey, _ = v.Bool() },
		"backoff":   func(v yamlfile.Value) { d.Backoff, _ = v.Text(); r.backoffAt = v.Pos() },
		"circuit":   func(v yamlfile.Value) { circuit = v },
		"message":   func(v yamlfile.Value) { d.Message, _ = v.Text(); message = v },
		"advice":    func(v yamlfile.Value) { d.Advice, _ = v.Text() },
	})
	if r.id == "" {
		v.Failf("has no id; give it one: records and logs name the rule by its id")
	}
	if slices.ContainsFunc(f.rules, func(other rule) bool { return other.id == r.id }) {
		v.Failf("has the id %q, like an earlier rule of this file; give it another", r.id)
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

// classOf returns the class of a rule that gives only an action.
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

func (f *file) readCircuit(v yamlfile.Value, r *rule) {
	c := &r.decision.Circuit
	if v.IsZero() {
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
		v.Mapping(yamlfile.Fields{
			"effect":     func(v yamlfile.Value) { set(&c.Effect)(yamlfile.OneOf(v, effects...)) },
			"scope":      func(v yamlfile.Value) { c.Scope, _ = yamlfile.OneOf(v, scopes...) },
			"hold":       func(v yamlfile.Value) { c.Hold, _ = v.Text(); r.holdAt = v.Pos() },
			"after":      func(v yamlfile.Value) { c.After, _ = v.Int(1, math.MaxInt32) },
			"max_probes": func(v yamlfile.Value) { c.MaxProbes, _ = v.Int(0, math.MaxInt32) },
		})
		if r.decision.Action == ActionPark && c.Effect != EffectOpen {
			v.Failf("must have the effect open, because the job is park: the circuit's hold says how long the call waits")
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

// checkMessage warns about a raw code in a message for end users.
func (f *file) checkMessage(v yamlfile.Value, r *rule) {
	for _, code := range r.match.codes {
		if len(code) > 2 && strings.Contains(r.decision.Message, code) {
			f.note(v.Pos(), "the message is for end users, but contains the raw code "+code)
			return
		}
	}
}

// checkReach finds rules of this file that are never reached, because one earlier rule
// of the same file matches everything that they match. rules are those of the merged
// policy, in which a rule that replaces another has its place.
func (f *file) checkReach(rules []rule) {
	if f.Failures() > 0 {
		return
	}
	own := slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return r.at.File != f.Name() })
	for i := range own {
		for j := range own[:i] {
			if own[j].match.covers(&own[i].match) {
				f.Failf(own[i].at, "rule %q is never reached: rule %q on line %d matches everything that it matches; move it up or remove it",
					own[i].id, own[j].id, own[j].at.Line)
				break
			}
		}
	}
}
