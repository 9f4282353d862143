package main

import (
	"bytes"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
)

func TestDurationsAreWrittenForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                                     "0ms",
		450 * time.Millisecond:                "450ms",
		time.Second:                           "1s",
		12*time.Second + 345*time.Millisecond: "12.3s",
		59*time.Second + 999*time.Millisecond: "59.9s",
		3*time.Minute + 20*time.Second:        "3m 20s",
		2*time.Hour + 5*time.Minute + time.Second: "2h 5m",
		2*time.Hour + 5*time.Second:               "2h",
		76 * time.Hour:                            "3d 4h",
		-90 * time.Second:                         "-1m 30s",
		math.MaxInt64:                             "106751d 23h",
	} {
		if got := console.Duration(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
	if got := console.Duration(math.MinInt64); !strings.HasPrefix(got, "-") {
		t.Errorf("the least duration reads %q", got)
	}
}

func TestNumbersHaveTheRightPlural(t *testing.T) {
	for want, got := range map[string]string{
		"1 call":           console.Plural(1, "call"),
		"0 calls":          console.Plural(0, "call"),
		"12,345 calls":     console.Plural(12345, "call"),
		"1,000,000 calls":  console.Plural(int64(1_000_000), "call"),
		"2 batches":        console.Plural(2, "batch"),
		"-1,234 addresses": console.Plural(-1234, "address"),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestATableIsAlignedAndPrintable(t *testing.T) {
	var out bytes.Buffer
	table := console.NewTable(&out, "NAME", "STATE")
	table.Row("a\tb\nc", "done\x1b[31m")
	table.Row("longer name", "dead\u202e")
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "NAME         STATE\na b c        done [31m\nlonger name  dead \n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestPrintableTextHasNoControlCharacters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		got := console.Printable(string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")))
		if strings.ContainsAny(got, "\x00\x07\x1b\r\n\t\x7f\u200f\u202e\u2028") {
			t.Errorf("got %q", got)
		}
	})
}

func TestIsTerminalIsTrueOnlyForATerminal(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for name, f := range map[string]any{"null device": null, "pipe": r, "buffer": &bytes.Buffer{}, "nothing": nil} {
		if console.IsTerminal(f) {
			t.Errorf("the %s is taken for a terminal", name)
		}
	}
}

func TestWithoutATerminalOnlyYesConfirms(t *testing.T) {
	var errs bytes.Buffer
	a := &app{stdin: strings.NewReader("yes\n"), stderr: &errs}
	if err := a.confirm(false, "Purge 3 dead letters?"); statusOf(err) != exitUsage || errs.Len() != 0 {
		t.Errorf("%v, %q", err, errs.String())
	}
	if err := a.confirm(true, "Purge 3 dead letters?"); err != nil {
		t.Error(err)
	}
}
