package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/internal/fileerror"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// Load reads a policy file in YAML and what it extends: a preset or, if the name has a
// slash or ends in .yaml or .yml, another file of fsys. That path is relative to the
// folder of the extending file. All mistakes in the files are returned at once, as
// [yamlfile.Errors]. If the file cannot be read, Load returns the error of fsys.
func Load(fsys fs.FS, name string) (*Policy, error) {
	l := loader{
		read:   func(name string) ([]byte, error) { return fs.ReadFile(fsys, name) },
		beside: func(from, name string) string { return path.Join(path.Dir(from), name) },
	}
	return l.open(name)
}

// LoadFile is [Load] for a file on disk. The path of what it extends is absolute, or
// relative to the folder of the extending file.
func LoadFile(name string) (*Policy, error) { return diskLoader().open(name) }

// ParseFile is [LoadFile] for a file on disk that has, or will have, the given content.
func ParseFile(name string, data []byte) (*Policy, error) { return diskLoader().parse(name, data) }

func diskLoader() *loader {
	return &loader{
		read: os.ReadFile,
		beside: func(from, name string) string {
			if filepath.IsAbs(name) {
				return name
			}
			return filepath.Join(filepath.Dir(from), name)
		},
	}
}

// Parse parses a policy; filename is used in its errors. The policy can extend only
// presets.
func Parse(filename string, data []byte) (*Policy, error) {
	var l loader
	return l.parse(filename, data)
}

// loader reads a file and the files that it extends. If read is nil, only presets can
// be extended.
type loader struct {
	read   func(name string) ([]byte, error)
	beside func(from, name string) string
	chain  []string
	notes  yamlfile.Errors
}

func (l *loader) open(name string) (*Policy, error) {
	data, err := l.read(name)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", fileerror.Explain(err))
	}
	return l.parse(name, data)
}

func (l *loader) parse(name string, data []byte) (*Policy, error) {
	f := readFile(name, data)
	defer func() { l.notes = append(l.notes, f.notes...) }() // loading may add some
	l.chain = append(l.chain, name)
	base, err := l.base(f)
	if err != nil {
		var below yamlfile.Errors
		if !errors.As(err, &below) {
			return nil, err
		}
		return nil, append(f.Errors(), below...)
	}
	p := f.onto(base)
	if err := f.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

// base loads what f extends. A nil policy without an error means that it could not be
// loaded; then f's findings say why.
func (l *loader) base(f *file) (*Policy, error) {
	switch {
	case f.extends == "" && f.extendsAt.Line == 0:
		return loadPreset(common)
	case f.extends == "":
		return nil, nil
	case !IsPath(f.extends):
		if !slices.Contains(Presets(), f.extends) {
			f.Failf(f.extendsAt, "no preset is called %q; there are: %s; a file is named with a / or the ending .yaml",
				f.extends, strings.Join(Presets(), ", "))
			return nil, nil
		}
		return Preset(f.extends)
	case l.read == nil:
		f.Failf(f.extendsAt, "files cannot be extended here, only presets: %s", strings.Join(Presets(), ", "))
		return nil, nil
	}
	name := l.beside(f.Name(), f.extends)
	if slices.Contains(l.chain, name) {
		f.Failf(f.extendsAt, "%s extends itself, through %s", name, f.Name())
		return nil, nil
	}
	data, err := l.read(name)
	if err != nil {
		f.Failf(f.extendsAt, "the file that it extends cannot be read: %v", err)
		return nil, nil
	}
	return l.parse(name, data)
}

// IsPath reports whether the name of a policy is a path and not a preset: a path has a
// slash or ends in .yaml or .yml.
func IsPath(name string) bool {
	return strings.ContainsAny(name, `/\`) || strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

// onto merges the file with what it extends, and finds names that are not defined. base
// is nil if there is nothing to extend.
func (f *file) onto(base *Policy) *Policy {
	p := &Policy{name: f.name, file: f.Name(), backoffs: map[string]Backoff{}, holds: map[string]Hold{}}
	var below []rule
	if base != nil {
		maps.Copy(p.backoffs, base.backoffs)
		maps.Copy(p.holds, base.holds)
		p.breaker, p.upstream, p.reading, p.paces = base.breaker, base.upstream, base.reading, base.paces
		below = slices.Clone(base.rules)
	}
	maps.Copy(p.backoffs, f.backoffs)
	maps.Copy(p.holds, f.holds)
	if f.breaker != nil {
		p.breaker = *f.breaker
	}
	p.upstream = f.upstream.over(p.upstream)
	p.reading = f.reading.over(p.reading)
	if f.paces != nil {
		p.paces = f.paces
	}
	for _, r := range f.rules {
		if at := slices.IndexFunc(below, func(b rule) bool { return b.id == r.id }); at >= 0 {
			if at == len(below)-1 && r.match.fields != 0 {
				f.Failf(r.at, "rule %q replaces the last rule, which matches everything; remove its match", r.id)
			}
			below[at] = r
			continue
		}
		p.rules = append(p.rules, r)
	}
	p.rules = append(p.rules, below...)
	if base != nil || f.extendsAt.Line == 0 {
		f.checkNames(p)
		f.checkReach(p.rules)
	}
	for i := range p.rules {
		r := &p.rules[i]
		r.budget = p.backoffs[r.decision.Backoff]
		if r.decision.Action != ActionRetry {
			r.decision.Backoff = ""
		}
		if r.decision.Circuit.Effect != EffectOpen {
			r.decision.Circuit.Hold = ""
		}
	}
	p.compilePlaces()
	f.noteUnread(p)
	return p
}

// noteUnread notes rules of this file that match what the policy reads nowhere. Only Go
// code that returns a [Failure] can give it then.
func (f *file) noteUnread(p *Policy) {
	for i := range f.rules {
		m := &f.rules[i].match
		switch {
		case (m.anyCode || len(m.codes) > 0) && len(p.reading.code) == 0:
			f.note(f.rules[i].at, "the rule matches an error code, but the policy does not say where answers have one; add read: {code: [PLACE]}")
		case m.fields&fieldFlag != 0 && m.flag != FlagAbsent && len(p.reading.ok) == 0:
			f.note(f.rules[i].at, "the rule matches the success flag, but the policy does not say where answers have one; add read: {ok: [PLACE]}")
		}
	}
}

func (f *file) checkNames(p *Policy) {
	for i := range f.rules {
		r := &f.rules[i]
		if name := r.decision.Backoff; name != "" {
			if _, ok := p.backoffs[name]; !ok {
				f.Failf(orElse(r.backoffAt, r.at), "no backoff is called %q; there are: %s", name, names(p.backoffs))
			}
		}
		if name := r.decision.Circuit.Hold; name != "" {
			if _, ok := p.holds[name]; !ok {
				f.Failf(orElse(r.holdAt, r.at), "no hold is called %q; there are: %s", name, names(p.holds))
			}
		}
	}
}

func orElse(at, fallback yamlfile.Pos) yamlfile.Pos {
	if at.Line == 0 {
		return fallback
	}
	return at
}

func names[T any](m map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}
