package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/internal/atomicfile"
	"github.com/seed-2903acc3/callq/internal/shellword"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/policy/draft"
	"github.com/seed-2903acc3/callq/tasks"
)

// maxDrafted is how many answers a draft is made from.
const maxDrafted = 5000

// drafting is callq policy new, with its flags.
type drafting struct {
	*app
	name    string
	from    []string
	extends string
	out     string
	force   bool

	results, unknown, bad int
	successes             draft.Successes
}

func (a *app) policyNewCommand() *cobra.Command {
	n := &drafting{app: a}
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a policy to start from, out of answers that no rule knew",
		Long: `Write a policy to start from. With --from it reads results, and groups the answers
that no rule knew by status, error code and shape: it proposes where the code and the
message are, a rule for each group, and a case for each. An active rule decides as the
extended policy does; what would change a decision is a comment. Without --from every
section is a comment.

The policy is written to standard output, or to FILE with -o; then the cases are
written to FILE with the ending .cases.yaml.`,
		Example: `  callq policy new my-api --from calls.jsonl.results.jsonl -o my-api.yaml
  callq policy new my-api --extends openai -o my-api.yaml`,
		Args: takes("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			n.name = args[0]
			return n.run()
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&n.from, "from", nil, "`RESULTS` file; - reads standard input; may be repeated")
	flags.StringVar(&n.extends, "extends", "", "the `POLICY` whose rules follow: a preset, or the path of a file (default http)")
	flags.StringVarP(&n.out, "out", "o", "", "`FILE` that the policy is written to; it ends in .yaml")
	flags.BoolVar(&n.force, "force", false, "replace FILE and its cases if they exist")
	completeFlag(cmd, "extends", policy.Presets)
	return cmd
}

// policyName matches the names that a policy of one's own may have.
var policyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (n *drafting) check() error {
	switch {
	case !policyName.MatchString(n.name) || policy.IsPath(n.name):
		return usageError("%q is not the name of a policy; write letters, digits and dashes, as in my-api", n.name)
	case slices.Contains(policy.Presets(), n.name):
		return usageError("%s is a preset; choose another name", n.name)
	case n.out != "" && !strings.HasSuffix(n.out, ".yaml") && !strings.HasSuffix(n.out, ".yml"):
		return usageError("-o %s must end in .yaml", n.out)
	case n.out == "" && n.force:
		return usageError("--force belongs to -o FILE")
	}
	if n.out == "" || n.force {
		return nil
	}
	for _, file := range []string{n.out, n.casesFile()} {
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return usageError("%s exists already; name another file, or replace it with --force", file)
		}
	}
	return nil
}

// file is the policy's file, whether it is written or not.
func (n *drafting) file() string {
	if n.out == "" {
		return n.name + ".yaml"
	}
	return n.out
}

func (n *drafting) casesFile() string {
	return strings.TrimSuffix(strings.TrimSuffix(n.file(), ".yaml"), ".yml") + ".cases.yaml"
}

func (n *drafting) run() error {
	if err := n.check(); err != nil {
		return err
	}
	extends, err := n.extended()
	if err != nil {
		return err
	}
	var answers []draft.Answer
	for _, file := range n.from {
		if answers, err = n.read(file, answers); err != nil {
			return err
		}
	}
	d, err := draft.New(draft.Options{
		Name: n.name, File: filepath.Base(n.file()), Extends: extends, Answers: answers,
		Successes: &n.successes, Results: n.results,
		Load: func(data []byte) (*policy.Policy, error) { return policy.ParseFile(n.file(), data) },
	})
	if err != nil {
		return err
	}
	if err := n.write(d); err != nil {
		return err
	}
	if n.json {
		return n.printJSON(n.asJSON(d))
	}
	n.conclude(d)
	return nil
}

// extended is the policy to extend as the new file says it: a path is relative to that
// file.
func (n *drafting) extended() (string, error) {
	if n.extends == "" {
		return "http", nil
	}
	if _, err := openPolicy(n.extends); err != nil {
		return "", err
	}
	if !policy.IsPath(n.extends) || filepath.IsAbs(n.extends) {
		return n.extends, nil
	}
	path, err := filepath.Rel(filepath.Dir(n.file()), n.extends)
	if err != nil {
		return "", usageError("--extends %s: %w", n.extends, err)
	}
	if path = filepath.ToSlash(path); !strings.HasPrefix(path, "../") {
		path = "./" + path
	}
	return path, nil
}

// read adds the answers of a results file that no rule knew.
func (n *drafting) read(name string, answers []draft.Answer) ([]draft.Answer, error) {
	source := n.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, usageError("%w", err)
		}
		defer file.Close()
		source = file
	}
	before := n.results
	for r, err := range tasks.ReadResults(source) {
		var bad *tasks.FieldError
		var torn *tasks.TornLineError
		switch {
		case errors.As(err, &bad), errors.As(err, &torn):
			n.bad++
			continue
		case err != nil:
			return nil, usageError("%s: %w", name, err)
		}
		n.results++
		a := answerOf(r)
		if r.Method == tasks.MethodJob {
			continue
		}
		if !draft.NeedsRule(a) {
			n.successes.Add(a)
			continue
		}
		if n.unknown++; n.unknown <= maxDrafted {
			a.Body = draft.Clip(a.Body)
			answers = append(answers, a)
		}
	}
	if n.results == before && n.bad > 0 {
		return nil, usageError("%s has no result; give a file that callq run or callq batch export has written", name)
	}
	return answers, nil
}

func answerOf(r tasks.Result) draft.Answer {
	a := draft.Answer{Key: r.Key, Method: r.Method, Path: r.Path, Status: r.HTTPStatus, Class: r.Class, Rule: r.Rule, Header: http.Header{}}
	for name, value := range r.Headers {
		a.Header.Set(name, value)
	}
	a.Body, _, _ = bodyOf(r.Body)
	return a
}

func (n *drafting) write(d draft.Draft) error {
	if n.out == "" {
		if n.json {
			return nil
		}
		_, err := n.stdout.Write(d.Policy)
		return err
	}
	write := writeNew
	if n.force {
		write = func(name string, text []byte) error { return atomicfile.Write(name, text, 0o644) }
	}
	if err := write(n.out, d.Policy); err != nil || d.Cases == nil {
		return err
	}
	return write(n.casesFile(), d.Cases)
}

// conclude says on standard error what was written and what to do.
func (n *drafting) conclude(d draft.Draft) {
	say := func(format string, args ...any) { n.progressf("%s", console.Printable(fmt.Sprintf(format, args...))) }
	if n.bad > 0 {
		say("%s.", console.Count(n.bad, "line was ignored: it is not a result", "lines were ignored: they are not results"))
	}
	switch {
	case d.Cases != nil:
		active := 0
		for _, r := range d.Rules {
			if r.Active {
				active++
			}
		}
		say("No rule knew %s of %s. Rules: %d active, %d as comments.", console.Plural(n.unknown, "answer"), console.Plural(n.results, "result"),
			active, len(d.Rules)-active)
		if n.unknown > maxDrafted {
			say("The first %s were used.", console.Plural(maxDrafted, "answer"))
		}
	case len(n.from) > 0:
		say("None of %s needs a rule. This is a policy to start from, in which every section is a comment.", console.Plural(n.results, "result"))
	}
	if d.Verdict != "" {
		say("Answers that were taken for successes differ at %s: see the comment in the policy.", d.Verdict)
	}
	switch {
	case n.out == "" && d.Cases != nil:
		say("The cases were not written; with -o %s they go to %s.", n.file(), n.casesFile())
	case n.out != "" && d.Cases != nil:
		say("Wrote %s and %s. Decide for each rule, then: %s", n.out, n.casesFile(), n.next("policy test "+shellword.Quote(n.casesFile())))
	case n.out != "":
		say("Wrote %s. Edit it, then: %s", n.out, n.next("policy lint "+shellword.Quote(n.out)))
	}
}

// draftJSON is a draft as JSON.
type draftJSON struct {
	Name    string          `json:"name"`
	YAML    string          `json:"yaml"`
	Cases   string          `json:"cases"`
	Results int             `json:"results"`
	Unknown int             `json:"unknown"`
	Ignored int             `json:"ignored"`
	Rules   []draftRuleJSON `json:"rules"`
}

type draftRuleJSON struct {
	ID         string `json:"id"`
	HTTPStatus int    `json:"http_status"`
	Code       string `json:"code"`
	Answers    int    `json:"answers"`
	Active     bool   `json:"active"`
}

func (n *drafting) asJSON(d draft.Draft) draftJSON {
	j := draftJSON{
		Name: n.name, YAML: string(d.Policy), Cases: string(d.Cases), Results: n.results, Unknown: n.unknown, Ignored: n.bad, Rules: []draftRuleJSON{},
	}
	for _, r := range d.Rules {
		j.Rules = append(j.Rules, draftRuleJSON{r.ID, r.Status, r.Code, r.Answers, r.Active})
	}
	return j
}
