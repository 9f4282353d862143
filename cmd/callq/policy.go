package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
	"github.com/spf13/cobra"
)

func (a *app) policyCommand() *cobra.Command {
	return group("policy", "Show, check and try out policies",
		a.policyPresetsCommand(),
		a.policyShowCommand(),
		a.policyLintCommand(),
		a.policyTestCommand(),
		a.policyExplainCommand(),
		a.policyNewCommand(),
		a.policyReplayCommand(),
		a.policySimulateCommand(),
	)
}

// openPolicy opens a preset, or a file if the name has a slash or ends in .yaml or .yml. Its
// errors are usage errors or have a position.
func openPolicy(name string) (*policy.Policy, error) {
	if !policy.IsPath(name) {
		p, err := policy.Preset(name)
		if err != nil {
			return nil, usageError("there is no preset %q; write %s, or the path of a policy file (with a / in it, or ending in .yaml)",
				name, strings.Join(policy.Presets(), ", "))
		}
		return p, nil
	}
	p, err := policy.LoadFile(name)
	var findings yamlfile.Errors
	if err != nil && !errors.As(err, &findings) {
		return nil, usageError("%w", err)
	}
	return p, err
}

func (a *app) policyPresetsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "presets",
		Short: "List the presets, the policies that are part of callq",
		Args:  takes(),
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.printJSON(policy.Presets())
			}
			t := console.NewTable(a.stdout, "PRESET", "FOR")
			for _, name := range policy.Presets() {
				t.Row(name, policy.PresetTitle(name))
			}
			return t.Flush()
		},
	}
}

func (a *app) policyShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show POLICY",
		Short: "Print a policy with the rules that it extends",
		Long: `Print a policy as one file, with the rules that it extends. POLICY is the name of a
preset, or the path of a file.`,
		Args:              takes("POLICY"),
		ValidArgsFunction: completePolicy,
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := openPolicy(args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"name": p.Name(), "rules": p.Rules(), "yaml": string(p.YAML())})
			}
			_, err = a.stdout.Write(p.YAML())
			return err
		},
	}
}

// completePolicy offers the presets; the shell offers files.
func completePolicy(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return policy.Presets(), cobra.ShellCompDirectiveDefault
}

// finding is a yamlfile.Error as JSON.
type finding struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

func (a *app) policyLintCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lint FILE",
		Short: "Check a policy file",
		Long:  "Check a policy file and what it extends. Each finding is printed with FILE:LINE:COL, and the exit status is 2.",
		Args:  takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			found, err := policy.LintFile(args[0])
			if err != nil {
				return usageError("%w", err)
			}
			if a.json {
				list := []finding{}
				for _, f := range found {
					list = append(list, finding{f.File, f.Line, f.Column, f.Message})
				}
				err = a.printJSON(list)
			} else {
				err = a.printFindings(args[0], found)
			}
			if err != nil || len(found) == 0 {
				return err
			}
			return &exitError{status: exitUsage}
		},
	}
}

func (a *app) printFindings(file string, found yamlfile.Errors) error {
	for _, f := range found {
		if _, err := fmt.Fprintln(a.stdout, console.Printable(f.Error())); err != nil {
			return err
		}
	}
	if len(found) == 0 {
		a.progressf("%s: no findings", console.Printable(file))
	}
	return nil
}
