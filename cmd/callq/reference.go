package main

import (
	_ "embed"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-2903acc3/callq/policy"
)

var (
	//go:embed reference/config.md
	configPage string
	//go:embed reference/files.md
	filesPage string
)

// referencePages are the pages of callq help, by name. They are the pages of
// cmd/callq/README.md and policy/README.md.
var referencePages = map[string]string{"config": configPage, "files": filesPage, "policy": policy.Language}

// topics are the pages that are not also commands. Help lists them below the commands.
func (a *app) topics() []*cobra.Command {
	topic := func(name, short string) *cobra.Command {
		cmd := &cobra.Command{Use: name, Short: short}
		cmd.SetHelpFunc(func(*cobra.Command, []string) { fmt.Fprint(a.stdout, referencePages[name]) })
		return cmd
	}
	return []*cobra.Command{
		topic("config", "callq.yaml, key by key: callq help config"),
		topic("files", "The format of calls and results: callq help files"),
	}
}
