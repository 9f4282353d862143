package fleettest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestEveryTestThatFAULTSNamesExists(t *testing.T) {
	t.Parallel()
	table, err := os.ReadFile("FAULTS.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	root := filepath.Join("..", "..")
	declared := regexp.MustCompile(`(?m)^func (Test\w+|Fuzz\w+)\(`)
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, found := range declared.FindAllSubmatch(source, -1) {
			there[string(found[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\b(Test|Fuzz)\w+`).FindAllString(string(table), -1)
	if len(named) == 0 {
		t.Fatal("the table names no test")
	}
	for _, name := range named {
		if !there[name] {
			t.Errorf("FAULTS.md names %s, which does not exist", name)
		}
	}
	for i, line := range strings.Split(string(table), "\n") {
		if strings.HasPrefix(line, "| ") && !strings.Contains(line, "Test") && !strings.Contains(line, "Fuzz") && !strings.HasPrefix(line, "| fault ") {
			t.Errorf("FAULTS.md:%d: no test proves this", i+1)
		}
	}
}
