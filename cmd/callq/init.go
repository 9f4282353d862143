package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/spf13/cobra"
)

//go:embed initial/callq.yaml
var initialConfig string

//go:embed initial/calls.jsonl
var initialCalls []byte

// initialCallsFile is the name of the example calls.
const initialCallsFile = "calls.jsonl"

func (a *app) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Write a commented callq.yaml and three example calls",
		Long: `Write callq.yaml, with a comment for each key, and calls.jsonl with three example
calls, into the working directory. On a terminal it asks for the address of the API
and the name of the environment variable that has the credential; Enter accepts the
example. It overwrites nothing.`,
		Args: takes(),
		RunE: func(*cobra.Command, []string) error { return a.initialize() },
	}
}

// answers are the values that the configuration is made from.
type answers struct{ BaseURL, Variable string }

// config returns the file with these answers. The error says which answer is wrong.
func (g answers) config() ([]byte, error) {
	var text bytes.Buffer
	if err := template.Must(template.New(config.DefaultFile).Parse(initialConfig)).Execute(&text, g); err != nil {
		return nil, err
	}
	_, err := config.Parse(config.DefaultFile, text.Bytes(), config.Source{Env: func(string) string { return "" }})
	return text.Bytes(), err
}

func (a *app) initialize() error {
	path := a.configPath
	if path == "" {
		path = config.DefaultFile
	}
	calls := filepath.Join(filepath.Dir(path), initialCallsFile)
	for _, file := range []string{path, calls} {
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return usageError("%s exists already; move it away, or name another file with --config", file)
		}
	}
	given := answers{BaseURL: "https://api.example.com", Variable: "MYAPI_TOKEN"}
	if console.IsTerminal(a.stdin) {
		if err := a.ask(&given); err != nil {
			return err
		}
	}
	text, err := given.config()
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name string
		text []byte
	}{{path, text}, {calls, initialCalls}} {
		if err := writeNew(file.name, file.text); err != nil {
			return err
		}
	}
	a.progressf("Wrote %s and %s. Set %s, edit the calls, and then: %s", path, calls, given.Variable, a.next("run "+calls+" --dry-run"))
	return nil
}

// ask asks for the values that differ between APIs.
func (a *app) ask(given *answers) error {
	in := bufio.NewReader(a.stdin)
	for _, q := range []struct {
		text  string
		value *string
	}{{"Address of the API", &given.BaseURL}, {"Environment variable that has its token", &given.Variable}} {
		for {
			fmt.Fprintf(a.stderr, "%s [%s]: ", q.text, *q.value)
			line, err := in.ReadString('\n')
			if err != nil {
				return errDeclined
			}
			before := *q.value
			if line = strings.TrimSpace(line); line != "" {
				*q.value = line
			}
			_, err = given.config()
			if err == nil {
				break
			}
			*q.value = before
			fmt.Fprintln(a.stderr, console.Printable(err.Error()))
		}
	}
	return nil
}

// writeNew writes a file that must not exist.
func writeNew(name string, text []byte) (err error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // it holds no secret
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = file.Write(text)
	return err
}
