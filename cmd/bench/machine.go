package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// machineTime returns the CPU time that all processes of the machine have used, and the
// time that its host gave to other machines; 0 if the system does not say.
func machineTime() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(first)
	const idle, wait, last = 4, 5, 8 // proc(5): user nice system idle iowait irq softirq steal
	if len(fields) <= last || fields[0] != "cpu" {
		return 0
	}
	var ticks int64
	for i := 1; i <= last; i++ {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0
		}
		if i != idle && i != wait {
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// loadAverage returns the load of the last minute; "" if the system does not say.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// processor returns the number of CPUs, and their model if the system says it.
func processor() string {
	cpus := strconv.Itoa(runtime.NumCPU()) + " CPUs"
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return cpus
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return cpus + " (" + strings.TrimSpace(value) + ")"
		}
	}
	return cpus
}

// version returns the version of a module that this program is built of.
func version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == module {
			return m.Version
		}
	}
	return ""
}
