package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/spf13/cobra"
)

// app is what the commands share: the world around the process, and the flags
// that every command has. The zero values of the flags are their defaults.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// screen is beneath stderr: it shows how far a command is.
	screen  *console.Screen
	env     func(string) string
	signals *signals
	// secrets knows the credentials that are in use. stdout and stderr of a program
	// at work print none of them.
	secrets *worker.Redactor

	configPath string
	redis      string
	json       bool
	quiet      bool
}

// run is the whole program: it carries out one command line and returns the
// exit status. Nothing it calls ends the process.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) string) int {
	return newApp(stdin, stdout, stderr, env).run(ctx, args)
}

func newApp(stdin io.Reader, stdout, stderr io.Writer, env func(string) string) *app {
	secrets := &worker.Redactor{}
	screen := console.NewScreen(stderr, console.IsTerminal(stderr), secrets.Text)
	return &app{
		stdin: stdin, stdout: newCleanWriter(secrets, stdout), stderr: newCleanWriter(secrets, screen), screen: screen, env: env, secrets: secrets,
	}
}

func (a *app) run(ctx context.Context, args []string) int {
	a.signals = listen()
	defer a.signals.close()
	return a.signals.guard(ctx, func(ctx context.Context) int {
		err := a.execute(ctx, args)
		a.report(err)
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
	return usage(cmd, plainly(err))
}

// markRuns notes when a command's own work begins.
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
whether to finish, retry, wait or give up, and remembers how every call ended.`,
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
	root.Flags().BoolVar(&version, "version", false, "as callq version")
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	flags := root.PersistentFlags()
	flags.StringVar(&a.configPath, "config", "", "configuration `FILE` (default callq.yaml, if it is there)")
	flags.StringVar(&a.redis, "redis", "", "`URL` of Redis (default embedded:)")
	flags.BoolVar(&a.json, "json", false, "machine-readable output")
	flags.BoolVar(&a.quiet, "quiet", false, "no progress, only results and errors")
	help := a.helpCommand()
	root.SetHelpCommand(help)
	root.AddCommand(
		help, // cobra would add it too late for markRuns
		a.runCommand(),
		a.initCommand(),
		a.devCommand(),
		a.workCommand(),
		a.adminCommand(),
		a.sendCommand(),
		a.batchCommand(),
		a.deadCommand(),
		a.circuitCommand(),
		a.policyCommand(),
		a.auditCommand(),
		a.doctorCommand(),
		a.simapiCommand(),
		a.versionCommand(),
		a.completionCommand(),
	)
	root.AddCommand(a.topics()...)
	return root
}

// group is a command that only holds others.
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

// knownCommand refuses what is not the name of a command, and names the nearest.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("unknown command %q for %s", args[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		message += fmt.Sprintf("; did you mean %q?", near[0])
	}
	return errors.New(message)
}

// takes is for a command that takes exactly the named arguments; one in brackets may be
// left out.
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

// helpCommand is cobra's, but it prints the reference pages too, and asking about
// something that does not exist is an error.
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
				return usage(cmd.Root(), fmt.Errorf("there is no command or page %q to help with", strings.Join(args, " ")))
			}
			return about.Help()
		},
	}
}

// config loads the configuration with the flags that every command has.
// concurrency and listen are those of the commands that work and serve; listen has
// a name for the latter alone.
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
	a.learn(cfg)
	return cfg, nil
}
