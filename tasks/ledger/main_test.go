package ledger

import (
	"flag"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	// Two back ends and a few hundred round trips a case: fewer cases than rapid's
	// 100, unless the command line asks for more.
	if err := flag.Set("rapid.checks", "15"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
