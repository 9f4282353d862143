package redistest

import (
	"flag"
	"runtime"
	"strconv"
)

// Parallel has so many tests of this package at once for each processor, unless
// the command line says how many. It is for TestMain, where tests mostly wait: for
// another attempt, for the end of a hold, for what a process does.
func Parallel(perProcessor int) {
	if err := flag.Set("test.parallel", strconv.Itoa(perProcessor*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
}
