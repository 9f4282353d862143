package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
)

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a script that completes callq's command lines",
		Long: `Print a script that completes callq's command lines in a shell.

bash:        source <(callq completion bash)
zsh:         callq completion zsh > "${fpath[1]}/_callq"
fish:        callq completion fish | source
powershell:  callq completion powershell | Out-String | Invoke-Expression`,
		Args:      cobra.MatchAll(takes("SHELL"), knownShell),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			default:
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			}
		},
	}
}

func knownShell(cmd *cobra.Command, args []string) error {
	if !slices.Contains(cmd.ValidArgs, args[0]) {
		return fmt.Errorf("there is no completion for %q; write bash, zsh, fish or powershell", args[0])
	}
	return nil
}
