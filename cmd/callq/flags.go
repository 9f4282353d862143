package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// wanted says what the values of each type of flag must be.
var wanted = map[string]string{
	"int":      "must be a whole number",
	"duration": "must be a duration, as in 30s, 15m or 2h",
	"bool":     "must be true or false",
}

// explainFlag replaces the error of a flag's value, which is that of a Go function such as
// strconv.ParseInt, by one that says what to write.
func explainFlag(err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err
	}
	kind := bad.GetFlag().Value.Type()
	want, ok := wanted[kind]
	if _, is := bad.GetFlag().Value.(*choice); is {
		want, ok = "must be "+kind, true
	}
	if !ok {
		return err
	}
	return fmt.Errorf("--%s %s, got %q", bad.GetFlag().Name, want, bad.GetValue())
}

// exclusive refuses more than one of the flags, and none of them if one is needed. Its
// messages are simpler than cobra's. A shell does not complete them together.
func exclusive(cmd *cobra.Command, needed bool, names ...string) {
	cmd.MarkFlagsMutuallyExclusive(names...)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		given := 0
		for _, name := range names {
			if cmd.Flags().Changed(name) {
				given++
			}
		}
		switch {
		case given == 0 && needed:
			return fmt.Errorf("give %s", flagList(names))
		case given > 1 && len(names) == 2:
			return fmt.Errorf("give %s, not both", flagList(names))
		case given > 1:
			return fmt.Errorf("give only one of %s", flagList(names))
		}
		return nil
	}
}

// flagList returns, for example, "--for or --until" or "--group, --filter or --all".
func flagList(names []string) string {
	last := len(names) - 1
	return "--" + strings.Join(names[:last], ", --") + " or --" + names[last]
}
