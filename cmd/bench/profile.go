package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
)

// profile profiles callq's worker on no-op jobs. It writes cpu.pprof, and allocs.pprof
// with allocs-before.pprof as its base, and prints Redis's time by command.
func profile(ctx context.Context, o options, stdout io.Writer) error {
	runtime.MemProfileRate = 0 // recording allocations would take CPU time
	commands, err := profiled(ctx, o.calls, func(work func() error) error { return cpuProfile(o.profile, work) })
	if err != nil {
		return err
	}
	runtime.MemProfileRate = 4096
	if _, err := profiled(ctx, o.calls, func(work func() error) error { return allocProfile(o.profile, work) }); err != nil {
		return err
	}
	printCommands(stdout, commands, o.calls)
	return nil
}

// profiled runs callq's worker under a profile, and returns Redis's statistics of its
// commands.
func profiled(ctx context.Context, n int, profile func(work func() error) error) (commandstats map[string]string, err error) {
	s, err := embedded.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	w, err := callqWorker(nameCallq, variant{}).prepare(ctx, s, n)
	if err != nil {
		return nil, err
	}
	if err = s.client.ConfigResetStat(ctx).Err(); err == nil {
		err = profile(w.run)
	}
	commandstats, infoErr := s.info(ctx, "commandstats")
	return commandstats, errors.Join(err, infoErr, w.end())
}

func cpuProfile(folder string, work func() error) error {
	f, err := os.Create(filepath.Join(folder, "cpu.pprof"))
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = work()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

func allocProfile(folder string, work func() error) error {
	if err := writeAllocs(filepath.Join(folder, "allocs-before.pprof")); err != nil {
		return err
	}
	return errors.Join(work(), writeAllocs(filepath.Join(folder, "allocs.pprof")))
}

func writeAllocs(name string) error {
	runtime.GC() // the profile has what was allocated until the last collection
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

// printCommands prints how often Redis executed each command for a call, and how long it
// took. The time of a script contains that of its commands.
func printCommands(stdout io.Writer, commandstats map[string]string, n int) {
	type command struct {
		name        string
		times, took float64
	}
	var list []command
	for field, value := range commandstats {
		name, ok := strings.CutPrefix(field, "cmdstat_")
		if !ok {
			continue
		}
		values := map[string]string{}
		for part := range strings.SplitSeq(value, ",") {
			key, number, _ := strings.Cut(part, "=")
			values[key] = number
		}
		list = append(list, command{name, number(values, "calls") / float64(n), number(values, "usec") / float64(n)})
	}
	slices.SortFunc(list, func(a, b command) int { return compareFloats(b.took, a.took) })
	fmt.Fprintf(stdout, "%-20s %14s %14s\n", "command", "times a call", "µs a call")
	for _, c := range list {
		fmt.Fprintf(stdout, "%-20s %14.2f %14.2f\n", c.name, c.times, c.took)
	}
}
