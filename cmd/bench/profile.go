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
func profile(ctx context.Context, o options, stdout io.Writer) (err error) {
	runtime.MemProfileRate = 4096
	s, err := embedded.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	w, err := callqWorker("callq", variant{}).prepare(ctx, s, o.calls)
	if err != nil {
		return err
	}
	err = s.client.ConfigResetStat(ctx).Err()
	if err == nil {
		err = profiled(o.profile, w.run)
	}
	f, infoErr := s.info(ctx, "commandstats")
	if err = errors.Join(err, infoErr, w.end()); err != nil {
		return err
	}
	printCommands(stdout, f, o.calls)
	return nil
}

// profiled runs work and writes its profiles into a folder.
func profiled(folder string, work func() error) error {
	if err := writeAllocs(filepath.Join(folder, "allocs-before.pprof")); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(folder, "cpu.pprof"))
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = work()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close(), writeAllocs(filepath.Join(folder, "allocs.pprof")))
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
