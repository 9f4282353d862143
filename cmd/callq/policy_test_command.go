package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
	"github.com/spf13/cobra"
)

// caseJSON is the result of one case.
type caseJSON struct {
	Name     string        `json:"name"`
	File     string        `json:"file"`
	Line     int           `json:"line"`
	Passed   bool          `json:"passed"`
	Rule     string        `json:"rule"`
	Class    policy.Class  `json:"class"`
	Job      policy.Action `json:"job"`
	Problems []string      `json:"problems"`
}

func (a *app) policyTestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test FILE",
		Short: "Run recorded answers through a policy and compare",
		Long: `Run recorded answers through a policy and compare its decisions with the expected
ones. FILE names the policy and has the cases. The name of a preset runs the cases of
that preset. The exit status is 1 if a case fails.

  policy: ./my-api.yaml          # or a preset
  cases:
    - name: a busy service is retried
      request: {method: GET, path: /search}
      response: {status: 200, body: '{"status": false, "error_code": 68300008}'}
      expect: {class: transient, job: retry}`,
		Args:              takes("FILE"),
		ValidArgsFunction: completePolicy,
		RunE: func(_ *cobra.Command, args []string) error {
			cases, err := openCases(args[0])
			if err != nil {
				return err
			}
			return a.runCases(cases)
		},
	}
}

func openCases(name string) (*policy.Cases, error) {
	load := policy.LoadCasesFile
	if slices.Contains(policy.Presets(), name) {
		load = policy.PresetCases
	}
	cases, err := load(name)
	var findings yamlfile.Errors
	if err != nil && !errors.As(err, &findings) {
		return nil, usageError("%w", err)
	}
	return cases, err
}

func (a *app) runCases(cases *policy.Cases) error {
	results := policy.RunCases(cases)
	failed := 0
	list := []caseJSON{}
	for _, r := range results {
		if !r.Passed() {
			failed++
		}
		list = append(list, caseJSON{
			Name: r.Case.Name, File: r.Case.File, Line: r.Case.Line, Passed: r.Passed(),
			Rule: r.Decision.Rule, Class: r.Decision.Class, Job: r.Decision.Action, Problems: append([]string{}, r.Problems...),
		})
	}
	var err error
	if a.json {
		err = a.printJSON(list)
	} else {
		err = a.printCases(list, failed, cases.Uncovered(results))
	}
	if err != nil || failed == 0 {
		return err
	}
	return errFindings
}

func (a *app) printCases(list []caseJSON, failed int, uncovered []string) error {
	for _, c := range list {
		if c.Passed {
			continue
		}
		if _, err := fmt.Fprintf(a.stdout, "%s:%d: %s (rule %s)\n", console.Printable(c.File), c.Line, console.Printable(c.Name), console.Printable(c.Rule)); err != nil {
			return err
		}
		for _, problem := range c.Problems {
			if _, err := fmt.Fprintf(a.stdout, "    %s\n", console.Printable(problem)); err != nil {
				return err
			}
		}
	}
	if len(uncovered) > 0 {
		if _, err := fmt.Fprintf(a.stdout, "no case covers: %s\n", console.Printable(strings.Join(uncovered, ", "))); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(a.stdout, "%s: %d passed, %d failed\n", console.Plural(len(list), "case"), len(list)-failed, failed)
	return err
}
