package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/internal/spelling"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/spf13/cobra"
)

// app is what the commands share: standard input and output, the environment, and the
// flags that every command has. The zero values of the flags are their defaults.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// screen is the screen that stderr writes to. It shows the progress.
	screen  *console.Screen
	env     func(string) string
	signals *signals
	// secrets has the credentials that are in use. stdout and stderr remove them from
	// what they print.
	secrets *worker.Redactor

	configPath string
	redis      string
	json       bool
	quiet      bool
	logs       logFlags
	traces     *traces
	// terminal reports that stderr is a terminal.
	terminal bool
	// captures reports that the logs of libraries go to the log of the command.
	captures bool
}

// run is the whole program: it runs one command line and returns the exit status. Nothing
// that it calls ends the process.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) string) int {
	return newApp(stdin, stdout, stderr, env).run(ctx, args)
}

func newApp(stdin io.Reader, stdout, stderr io.Writer, env func(string) string) *app {
	secrets := &worker.Redactor{}
	terminal := console.IsTerminal(stderr)
	screen := console.NewScreen(stderr, terminal, secrets.Text)
	return &app{
		stdin: stdin, stdout: newCleanWriter(secrets, stdout), stderr: newCleanWriter(secrets, screen), screen: screen, env: env, secrets: secrets,
		terminal: terminal, traces: &traces{},
	}
}

func (a *app) run(ctx context.Context, args []string) int {
	a.signals = listen()
	defer a.signals.close()
	return a.signals.guard(ctx, func(ctx context.Context) int {
		err := a.execute(ctx, args)
		a.report(err)
		a.traces.close()
		return statusOf(err)
	})
}

func (a *app) execute(ctx context.Context, args []string) error {
	root := a.root()
	root.SetArgs(args)
	began := false
	markRuns(root, &began)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil || began {
		return err
	}
	// Errors before RunE are usage errors.
	return usage(cmd, explainFlag(err))
}

// markRuns sets began when the RunE of a command begins.
func markRuns(cmd *cobra.Command, began *bool) {
	if work := cmd.RunE; work != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*began = true
			return work(cmd, args)
		}
	}
	for _, child := range cmd.Commands() {
		markRuns(child, began)
	}
}

func (a *app) root() *cobra.Command {
	version := false
	root := &cobra.Command{
		Use:   "callq",
		Short: "A job queue for API calls",
		Long: `callq makes API calls from a queue. It reads each answer, decides by a policy
whether to finish, retry, wait or give up, and records how every call ended.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              knownCommand,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if version {
				return a.printVersions()
			}
			return cmd.Help()
		},
	}
	root.Flags().BoolVar(&version, "version", false, "print the version, like callq version")
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	flags := root.PersistentFlags()
	flags.StringVar(&a.configPath, "config", "", "configuration `FILE` (default callq.yaml, if it exists)")
	flags.StringVar(&a.redis, "redis", "", "`URL` of Redis (default embedded:)")
	flags.BoolVar(&a.json, "json", false, "machine-readable output")
	flags.BoolVar(&a.quiet, "quiet", false, "no progress, only results and errors")
	a.logs.add(root, flags)
	root.PersistentPreRunE = a.beginLogs
	help := a.helpCommand()
	root.SetHelpCommand(help)
	root.AddCommand(
		help, // cobra would add it too late for markRuns
		a.runCommand(),
		a.initCommand(),
		asService(a.devCommand()),
		asService(a.workCommand()),
		asService(a.adminCommand()),
		a.sendCommand(),
		a.batchCommand(),
		a.deadCommand(),
		a.circuitCommand(),
		a.topCommand(),
		a.policyCommand(),
		a.auditCommand(),
		a.doctorCommand(),
		asService(a.simapiCommand()),
		a.openapiCommand(),
		a.versionCommand(),
		a.completionCommand(),
	)
	root.AddCommand(a.topics()...)
	return root
}

// group returns a command that only has subcommands.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var names []string
			for _, child := range cmd.Commands() {
				if child.IsAvailableCommand() {
					names = append(names, child.Name())
				}
			}
			return usage(cmd, fmt.Errorf("%s needs a command: %s", cmd.CommandPath(), strings.Join(names, ", ")))
		},
	}
	cmd.AddCommand(commands...)
	return cmd
}

// knownCommand refuses an argument, which is not the name of a command, and suggests the
// nearest command.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("unknown command %q for %s", args[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		message += fmt.Sprintf("; did you mean %q?", cmp.Or(spelling.Nearest(args[0], near), near[0]))
	}
	return errors.New(message)
}

// takes returns the check of a command that takes exactly the named arguments. An argument
// in brackets is optional.
func takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > len(names) {
			return fmt.Errorf("%s does not take the argument %q", cmd.CommandPath(), args[len(names)])
		}
		if len(args) < len(names) && !strings.HasPrefix(names[len(args)], "[") {
			return fmt.Errorf("%s needs an argument: %s", cmd.CommandPath(), names[len(args)])
		}
		return nil
	}
}

// helpCommand is like cobra's help command, but it also prints the reference pages, and an
// unknown command is an error.
func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND…]",
		Short: "Help about any command, and the pages config, files and policy",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && referencePages[args[0]] != "" {
				_, err := fmt.Fprint(a.stdout, referencePages[args[0]])
				return err
			}
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usage(cmd.Root(), fmt.Errorf("there is no help about %q: it is neither a command nor a page", strings.Join(args, " ")))
			}
			return about.Help()
		},
	}
}

// config loads the configuration with the flags that every command has. concurrency is a
// flag of the commands that make calls, listen of the commands that serve the admin
// address. listen has a name only for the latter.
func (a *app) config(concurrency, listen config.Flag) (*config.Config, error) {
	cfg, err := config.Load(config.Source{
		Path:              a.configPath,
		Env:               a.env,
		Redis:             config.Flag{Name: "--redis", Value: a.redis},
		WorkerConcurrency: concurrency,
		AdminListen:       listen,
		ServesAdmin:       listen.Name != "",
	})
	if err != nil {
		return nil, err
	}
	a.addSecrets(cfg)
	return cfg, nil
}
