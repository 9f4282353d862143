package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestTheGoProgramOfTheREADMEBuilds(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	programs := examples(string(text), "go")
	if len(programs) != 1 {
		t.Fatalf("the README has %d programs", len(programs))
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(programs[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	// For the compiler the program is in this module; it is not on disk.
	replaced := overlay(t, filepath.Join(here, "readme", "main.go"), source)
	if out, err := exec.Command("go", "build", "-overlay", replaced, "-o", filepath.Join(dir, "program"), "./readme").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// overlay writes a file for the flag -overlay of "go build", with which the compiler reads the
// file "by" in place of another, and returns its path.
func overlay(t *testing.T, replaced, by string) string {
	t.Helper()
	data, err := json.Marshal(map[string]map[string]string{"Replace": {replaced: by}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheFilesThatTheArchitectureNamesExist(t *testing.T) {
	const path = "`((?:worker|tasks|policy|cmd)(?:/[a-z0-9]+)*(?:/[a-z0-9_.]+\\.(?:go|lua|yaml|md))?)`"
	for page, least := range map[string]int{"ARCHITECTURE.md": 30, "CONTRIBUTING.md": 15} {
		text, err := os.ReadFile(filepath.Join("../..", page))
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile(path).FindAllStringSubmatch(string(text), -1)
		if len(named) < least {
			t.Fatalf("%s names %d files and folders", page, len(named))
		}
		for _, m := range named {
			if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
				t.Errorf("%s names %s, which does not exist", page, m[1])
			}
		}
		// Such as: `start` and `line` in `cmd/callq/run_events.go`.
		inside := regexp.MustCompile("((?:`[A-Za-z-]+`(?:,| and| or)?\\s)+)(?:in|of)\\s"+path).FindAllStringSubmatch(string(text), -1)
		if len(inside) < 5 {
			t.Errorf("%s names %d places in files", page, len(inside))
		}
		for _, m := range inside {
			source, err := os.ReadFile(filepath.Join("../..", m[2]))
			if err != nil {
				continue // a folder
			}
			for _, name := range regexp.MustCompile("[A-Za-z-]+").FindAllString(strings.NewReplacer(" and ", " ", " or ", " ").Replace(m[1]), -1) {
				if !regexp.MustCompile(`\b` + name + `\b`).Match(source) {
					t.Errorf("%s says that %s is in %s, and it is not", page, name, m[2])
				}
			}
		}
	}
}

func TestTheFilesThatTheREADMELinksToExist(t *testing.T) {
	for _, page := range []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "policy/README.md", "deploy/RUNBOOK.md", "worker/fleettest/FAULTS.md", "worker/circuit/README.md"} {
		text, err := os.ReadFile(filepath.Join("../..", page))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(text), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join("../..", filepath.Dir(page), target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", page, target)
			}
		}
	}
}
