package policy

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
)

//go:embed presets/*.yaml
var presetFiles embed.FS

// common is the preset that every policy extends, directly or through another. It has
// the standard backoffs and holds, and the last rule, which matches anything. It cannot be
// named.
const common = "common"

// casesSuffix ends the name of a file of cases.
const casesSuffix = ".cases.yaml"

// presetNames are the presets that can be named, sorted.
var presetNames = sync.OnceValue(func() []string {
	files, _ := presetFiles.ReadDir("presets") // embedded: it is there
	var names []string
	for _, file := range files {
		name, isPolicy := strings.CutSuffix(file.Name(), ".yaml")
		if isPolicy && !strings.HasSuffix(file.Name(), casesSuffix) && name != common {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
})

// loaded has the presets that were read. A Policy never changes, so each is read once and
// shared.
var loaded sync.Map

// Presets returns the names of the presets, sorted.
func Presets() []string { return slices.Clone(presetNames()) }

// Preset returns the preset with the name.
func Preset(name string) (*Policy, error) {
	if !slices.Contains(presetNames(), name) {
		return nil, fmt.Errorf("policy: no preset is called %q; there are: %s", name, strings.Join(presetNames(), ", "))
	}
	return loadPreset(name)
}

// PresetTitle returns one line that says what API a preset is for: the first comment of
// its file.
func PresetTitle(name string) string {
	data, err := presetFiles.ReadFile("presets/" + name + ".yaml")
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, "#"))
}

func loadPreset(name string) (*Policy, error) {
	if p, ok := loaded.Load(name); ok {
		return p.(*Policy), nil
	}
	data, err := presetFiles.ReadFile("presets/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	f := readFile(name+" (preset)", data)
	var base *Policy
	if name != common {
		if f.extends == "" {
			f.extends = common
		}
		if base, err = loadPreset(f.extends); err != nil {
			return nil, err
		}
	}
	p := f.onto(base)
	if err := f.Err(); err != nil {
		return nil, err
	}
	loaded.Store(name, p)
	return p, nil
}

// PresetCases returns the recorded cases of a preset: at least one for each rule of its
// file and each code in a rule.
func PresetCases(name string) (*Cases, error) {
	p, err := Preset(name)
	if err != nil {
		return nil, err
	}
	file := "presets/" + name + casesSuffix
	data, err := presetFiles.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	f := readCases(path.Base(file), data)
	if err := f.Err(); err != nil {
		return nil, err
	}
	return &Cases{Policy: p, Cases: f.cases}, nil
}
