package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
)

// errDeclined ends a command whose question was not answered with yes.
var errDeclined = errors.New("nothing was changed")

// addYes adds the flag of commands that ask.
func addYes(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVar(yes, "yes", false, "do not ask")
}

// askable returns a usage error where a question would have to be asked and nobody is
// there to answer. It is called before anything else is reached.
func (a *app) askable(yes bool) error {
	if yes || console.IsTerminal(a.stdin) {
		return nil
	}
	return usageError("this asks before it goes on, and there is no terminal to ask on; add --yes")
}

// confirm asks before what cannot be undone, and returns nil on a yes. With yes
// set it does not ask. Where nobody can be asked it is a usage error to leave it out.
func (a *app) confirm(yes bool, question string) error {
	if err := a.askable(yes); err != nil || yes {
		return err
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", console.Printable(question))
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil {
		return errDeclined
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}
