package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTheWalkThroughOfThePolicyPageIsTrue writes each file of the page's walk-through,
// runs each command, and compares what is printed with what the page shows. A line "…"
// stands for any lines.
func TestTheWalkThroughOfThePolicyPageIsTrue(t *testing.T) {
	page, err := os.ReadFile("../../policy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Your own API in twenty lines\n")
	section, _, _ = strings.Cut(section, "\n## ")
	t.Chdir(t.TempDir())
	files, commands := 0, 0
	for _, block := range regexp.MustCompile("(?s)(?:The file `([a-z.]+)`:\n\n)?```([a-z]+)\n(.*?)```").FindAllStringSubmatch(section, -1) {
		name, language, text := block[1], block[2], block[3]
		switch {
		case name != "":
			files++
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if lines := strings.Count(text, "\n"); name == "parcels.yaml" && lines > 20 {
				t.Errorf("the policy has %d lines", lines)
			}
		case language == "console":
			for _, part := range strings.Split(text, "$ callq ")[1:] {
				commands++
				command, want, _ := strings.Cut(part, "\n")
				stdout, stderr, status := callq(t, strings.Fields(command)...)
				if got := stdout + stderr; status != exitOK || !isShown(got, want) {
					t.Errorf("callq %s: status %d, the page shows\n%s\nit prints\n%s", command, status, want, got)
				}
			}
		}
	}
	if files != 3 || commands != 4 {
		t.Errorf("the walk-through has %d files and %d commands", files, commands)
	}
}

// isShown reports whether want is got, with lines left out where want has "…".
func isShown(got, want string) bool {
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	parts := strings.Split("\n"+want, "\n…\n")
	for i, part := range parts {
		wanted := strings.Split(strings.Trim(part, "\n"), "\n")
		if part == "" || part == "\n" {
			continue
		}
		at := 0
		for ; at+len(wanted) <= len(lines); at++ {
			if slices.Equal(lines[at:at+len(wanted)], wanted) {
				break
			}
		}
		if at+len(wanted) > len(lines) || i == 0 && at != 0 {
			return false
		}
		lines = lines[at+len(wanted):]
		if i == len(parts)-1 {
			return len(lines) == 0
		}
	}
	return true
}
