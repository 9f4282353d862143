package redistest

import (
	"flag"
	"runtime"
	"strconv"
)

// Parallel runs perProcessor tests of this package at once for each processor, unless
// the command line says how many. TestMain calls it if the tests mostly wait: for
// another attempt, the end of a hold, or a process.
func Parallel(perProcessor int) {
	if err := flag.Set("test.parallel", strconv.Itoa(perProcessor*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
}
