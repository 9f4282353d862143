package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/tasks"
)

var update = flag.Bool("update", false, "write cmd/callq/README.md anew")

// examples are the blocks of a language in a page.
func examples(page, language string) (blocks []string) {
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(page, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

func TestTheExamplesOfTheConfigurationPageAreValid(t *testing.T) {
	list := examples(configPage, "yaml")
	if len(list) != 2 {
		t.Fatalf("the page has %d examples", len(list))
	}
	for _, text := range list {
		path := filepath.Join(t.TempDir(), "callq.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(config.Source{Path: path, Env: func(string) string { return "" }}); err != nil {
			t.Error(err)
		}
	}
}

func TestTheExamplesOfTheFilesPageAreValid(t *testing.T) {
	list := examples(filesPage, "json")
	if len(list) != 2 {
		t.Fatalf("the page has %d examples", len(list))
	}
	calls := 0
	for line, err := range tasks.ReadCalls(strings.NewReader(list[0]), tasks.ReadOptions{Rules: tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "patsnap"}}}}) {
		if err != nil {
			t.Errorf("line %d: %v", line.Number, err)
		}
		calls++
	}
	if calls != 2 {
		t.Errorf("%d calls were read", calls)
	}
	for r, err := range tasks.ReadResults(strings.NewReader(list[1])) {
		if err != nil || r.Key != "row-1" || r.State != tasks.StateDone {
			t.Errorf("result %+v, %v", r, err)
		}
	}
}

// documented is cmd/callq/README.md as the program has it.
func documented() string {
	var b strings.Builder
	b.WriteString("# The command callq\n\nThis page is made from the program: `callq help COMMAND`, `callq help config` and `callq help files` print its parts.\n" +
		"`go test ./cmd/callq -run README -update` writes it anew.\n\n## Commands\n\n| command | what it does |\n|---|---|\n")
	root := newApp(strings.NewReader(""), io.Discard, io.Discard, func(string) string { return "" }).root()
	var commands []*cobra.Command
	var collect func(*cobra.Command)
	collect = func(c *cobra.Command) {
		for _, child := range c.Commands() {
			if child.Runnable() && !child.HasSubCommands() && child.Name() != "help" {
				commands = append(commands, child)
			}
			collect(child)
		}
	}
	collect(root)
	for _, c := range commands {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", c.CommandPath(), strings.ReplaceAll(c.CommandPath(), " ", "-"), c.Short)
	}
	b.WriteString(`
Exit status: 0 well; 1 failed (also findings of audit, doctor and policy test, refused lines, interrupted); 2 wrong usage, configuration
or input, findings of policy lint; 3 finished, but some calls are dead or dropped.

Every command takes ` + "`--config FILE`, `--redis URL`, `--json`, `--quiet`, `--log-level debug|info|warn|error`" + ` and
` + "`--log-format text|json`" + `. The log goes to stderr. It is JSON for ` + "`work`, `admin`, `dev` and `simapi`" + ` unless stderr is a terminal, and text
for the others. [Logs](../../deploy/RUNBOOK.md#logs) says what it has, and
[Traces](../../deploy/RUNBOOK.md#traces) how to export OpenTelemetry traces.

`)
	b.WriteString(strings.ReplaceAll(configPage, "\n#", "\n##")[len("# "):])
	page := b.String()
	page = strings.Replace(page, "Configuration\n\ncallq reads", "## Configuration\n\ncallq reads", 1) + "\n#" + strings.ReplaceAll(filesPage, "\n#", "\n##")
	b.Reset()
	b.WriteString(page + "\n## Each command\n")
	for _, c := range commands {
		var help bytes.Buffer
		c.SetOut(&help)
		_ = c.Help()
		text, _, _ := strings.Cut(help.String(), "\nGlobal Flags:")
		fmt.Fprintf(&b, "\n### %s\n\n```text\n%s\n```\n", c.CommandPath(), strings.TrimRight(text, "\n"))
	}
	return b.String()
}

func TestTheREADMEOfTheCommandMatchesItsHelp(t *testing.T) {
	want := documented()
	if *update {
		if err := os.WriteFile("README.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("README.md")
	if err != nil || string(got) != want {
		t.Errorf("cmd/callq/README.md is not what the program says (%v): run go test ./cmd/callq -run README -update", err)
	}
}
