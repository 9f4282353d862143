package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
)

// errDeclined ends a command if its question is not answered with yes.
var errDeclined = errors.New("nothing was changed")

// addYes adds the flag --yes to a command that asks.
func addYes(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVar(yes, "yes", false, "do not ask")
}

// askable returns a usage error if the command must ask but there is no terminal. It is
// called before the command connects to anything.
func (a *app) askable(yes bool) error {
	if yes || console.IsTerminal(a.stdin) {
		return nil
	}
	return usageError("this command asks before it changes anything, and there is no terminal to ask on; add --yes")
}

// confirm asks before a change that cannot be undone, and returns nil if the answer is yes.
// If yes is set, it does not ask. Without a terminal, and without yes, it returns a usage
// error.
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
