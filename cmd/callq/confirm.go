package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
)

// errDeclined ends a command whose question was not answered with yes.
var errDeclined = errors.New("nothing was changed")

// confirm asks before what cannot be undone, and returns nil on a yes. With yes
// set it does not ask. Where nobody can be asked it is misuse not to have set
// it, so it is called before anything else is reached.
func (a *app) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(a.stdin) {
		return misuse("this cannot be undone and there is no terminal to ask on; add --yes")
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", printable(question))
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
