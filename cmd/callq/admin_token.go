package main

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/worker/admin/access"
	"github.com/spf13/cobra"
)

// newToken is a token for the admin address, as --json prints it.
type newToken struct {
	Name  string      `json:"name"`
	Role  access.Role `json:"role"`
	Token string      `json:"token"`
	// Variable is the environment variable that Line refers to.
	Variable string `json:"variable"`
	// Line is the line for admin.tokens in the configuration.
	Line string `json:"line"`
}

func (a *app) adminTokenCommand() *cobra.Command {
	role := ""
	roles := []string{string(access.Viewer), string(access.Producer), string(access.Operator)}
	cmd := &cobra.Command{
		Use:   "token NAME --role ROLE",
		Short: "Make a token for the admin address, and print how to configure it",
		Long: `Make a random token for the admin address and print it on standard output, once: it is
not stored. Standard error says how to put it into the configuration, which is not read
or changed.

A viewer reads everything: the status page, metrics, batches, results. A producer can
also send calls and batches. An operator can do everything, such as redrive dead letters
and open circuits.`,
		Example: `  callq admin token ci --role producer`,
		Args:    takes("NAME"),
		PreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains(roles, role) {
				return fmt.Errorf("give --role, one of %s", strings.Join(roles, ", "))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.printToken(args[0], access.Role(role)) },
	}
	cmd.Flags().StringVar(&role, "role", "", "`ROLE` of the token: "+strings.Join(roles, ", "))
	completeFlag(cmd, "role", func() []string { return roles })
	return cmd
}

// tokenName is what the name of a token may look like, so that it needs no quotes in YAML
// and names a variable.
var tokenName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

func (a *app) printToken(name string, role access.Role) error {
	if !tokenName.MatchString(name) {
		return usageError("%q cannot be the name of a token: use letters, digits, - and _, and begin with a letter", name)
	}
	variable := "CALLQ_TOKEN_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	t := newToken{
		Name: name, Role: role, Variable: variable,
		// Text has 128 bits; the prefix tells people and scanners what it is.
		Token: "callq_" + strings.ToLower(rand.Text()),
		Line:  fmt.Sprintf(`{name: %s, role: %s, token: "${env:%s}"}`, name, role, variable),
	}
	if a.json {
		return a.printJSON(t)
	}
	if _, err := fmt.Fprintln(a.stdout, t.Token); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stderr, `The token of %s is printed only this once. Keep it in the environment of callq as %s,
and add this to callq.yaml:

admin:
  tokens:
    - %s

A program sends it as: Authorization: Bearer TOKEN. A browser asks for it on /sign-in.
`, name, variable, t.Line)
	return err
}
