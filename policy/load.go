package policy

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

//go:embed presets/*.yaml
var presetFiles embed.FS

// ground is the file that every policy stands on unless it extends another: the
// standard backoffs and holds, and the last rule, which matches anything.
const ground = "ground"

// A Policy never changes, so each that ships is read once and shared by all.
var (
	groundPolicy = sync.OnceValues(func() (*Policy, error) { return readPreset(ground, nil) })
	presets      = map[string]func() (*Policy, error){
		"http":    sync.OnceValues(func() (*Policy, error) { return onGround("http") }),
		"patsnap": sync.OnceValues(func() (*Policy, error) { return onGround("patsnap") }),
	}
)

// Presets gives the names of the policies that ship, sorted.
func Presets() []string { return []string{"http", "patsnap"} }

// Preset gives a policy that ships, by name.
func Preset(name string) (*Policy, error) {
	load, ok := presets[name]
	if !ok {
		return nil, fmt.Errorf("policy: no preset is called %q; there are: %s", name, strings.Join(Presets(), ", "))
	}
	return load()
}

// Load reads a policy file in YAML and what it extends: a preset, or, with a
// slash or the ending .yaml or .yml, another file of fsys, its path counting
// from the extending file's folder. What is wrong in the files comes back as
// [yamlfile.Errors], all of it at once; a file that cannot be read as the error of fsys.
func Load(fsys fs.FS, name string) (*Policy, error) {
	l := loader{
		read:   func(name string) ([]byte, error) { return fs.ReadFile(fsys, name) },
		beside: func(from, name string) string { return path.Join(path.Dir(from), name) },
	}
	return l.open(name)
}

// LoadFile is [Load] for a file of the machine; the path of what it extends is
// absolute or counts from the extending file's folder.
func LoadFile(name string) (*Policy, error) { return diskLoader().open(name) }

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

// Parse reads a policy from data; filename is for its errors. It can extend
// presets only.
func Parse(filename string, data []byte) (*Policy, error) {
	var l loader
	return l.parse(filename, data)
}

// loader follows what files extend. A nil read means that there are no files.
type loader struct {
	read   func(name string) ([]byte, error)
	beside func(from, name string) string
	chain  []string
	notes  yamlfile.Errors
}

func (l *loader) open(name string) (*Policy, error) {
	data, err := l.read(name)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return l.parse(name, data)
}

func (l *loader) parse(name string, data []byte) (*Policy, error) {
	f := readFile(name, data)
	l.notes = append(l.notes, f.notes...)
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

// base loads what f extends. A nil policy with no error means that it could not
// be had and that f's findings say why.
func (l *loader) base(f *file) (*Policy, error) {
	switch {
	case f.extends == "" && f.extendsAt.Line == 0:
		return groundPolicy()
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
		f.Failf(f.extendsAt, "%s extends itself, by way of %s", name, f.Name())
		return nil, nil
	}
	data, err := l.read(name)
	if err != nil {
		f.Failf(f.extendsAt, "what it extends cannot be read: %v", err)
		return nil, nil
	}
	return l.parse(name, data)
}

// IsPath tells that the name of a policy is a path and no preset: it has a
// slash or ends in .yaml or .yml.
func IsPath(name string) bool {
	return strings.ContainsAny(name, `/\`) || strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

func onGround(name string) (*Policy, error) {
	base, err := groundPolicy()
	if err != nil {
		return nil, err
	}
	return readPreset(name, base)
}

// readPreset reads a file that ships. None extends another.
func readPreset(name string, base *Policy) (*Policy, error) {
	data, err := presetFiles.ReadFile("presets/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	f := readFile(name+" (preset)", data)
	p := f.onto(base)
	if err := f.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

// onto joins the file with what it extends, and finds names that nothing
// defines. Without a base the file stands alone.
func (f *file) onto(base *Policy) *Policy {
	p := &Policy{name: f.name, backoffs: map[string]Backoff{}, holds: map[string]Hold{}}
	var below []rule
	if base != nil {
		maps.Copy(p.backoffs, base.backoffs)
		maps.Copy(p.holds, base.holds)
		p.breaker, p.upstream = base.breaker, base.upstream
		below = slices.Clone(base.rules)
	}
	maps.Copy(p.backoffs, f.backoffs)
	maps.Copy(p.holds, f.holds)
	if f.breaker != nil {
		p.breaker = *f.breaker
	}
	p.upstream = f.upstream.over(p.upstream)
	for _, r := range f.rules {
		if at := slices.IndexFunc(below, func(b rule) bool { return b.id == r.id }); at >= 0 {
			if at == len(below)-1 && r.match.fields != 0 {
				f.Failf(r.at, "rule %q replaces the last rule, which takes what no other does, so it may have no match", r.id)
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
	return p
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
