package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestMain(m *testing.M) {
	if os.Getenv(apiVariable) != "" {
		if err := serveAPI(os.Stdin, os.Stdout); err != nil {
			panic(err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// The program itself checks in each measurement that every call was done and recorded.
func TestTheComparisonMeasuresEverySide(t *testing.T) {
	redistest.Binary(t)
	r, err := measureAll(t.Context(), options{calls: 200, rounds: 7}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if r.rounds != 1 {
		t.Errorf("%d rounds were made; the time was over after the first", r.rounds)
	}
	page := r.details()
	for _, o := range r.outcomes {
		for _, side := range o.sides {
			if !strings.Contains(page, "\n| "+side.name+" | ") {
				t.Errorf("the page does not have the side %q", side.name)
			}
			for _, s := range o.samples[side.name] {
				if s.rate <= 0 || s.redis <= 0 || s.allocs <= 0 || s.file <= 0 {
					t.Errorf("%s, %s: %+v", o.title, side.name, s)
				}
			}
		}
	}
	for _, script := range []string{"ledger.Dispatcher.Dequeue", "rdb.RDB.Dequeue"} {
		if !strings.Contains(page, "| "+script+" |") {
			t.Errorf("the page does not have the script %s:\n%s", script, page)
		}
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(readme), tableBegin)
	shown, _, _ = strings.Cut(shown, tableEnd)
	if want := labels(r.summary()); len(want) < 5 || !slices.Equal(labels(shown), want) {
		t.Errorf("the README's table has the rows\n%q\nand the program prints\n%q", labels(shown), want)
	}
}

// labels returns the first cells of a table's rows.
func labels(table string) (first []string) {
	for row := range strings.Lines(table) {
		if cells := strings.Split(row, "|"); len(cells) > 2 {
			first = append(first, strings.TrimSpace(cells[1]))
		}
	}
	return first
}

func TestAProfileHasTheTimeOfEachCommand(t *testing.T) {
	redistest.Binary(t)
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-calls", "200", "-profile", t.TempDir()}, &out, t.Output()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "evalsha ") {
		t.Errorf("got\n%s", out.String())
	}
}

func TestWithoutARedisItSaysSoInOneSentence(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := run(t.Context(), []string{"-calls", "1", "-rounds", "1"}, &bytes.Buffer{}, t.Output())
	if err == nil || !strings.Contains(err.Error(), "must be on PATH") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func TestEachSideBeginsARound(t *testing.T) {
	begins := map[int]bool{}
	for round := range 7 {
		turns := order(7, round)
		begins[turns[0]] = true
		slices.Sort(turns)
		if !slices.Equal(turns, []int{0, 1, 2, 3, 4, 5, 6}) {
			t.Errorf("round %d has the turns %v", round, turns)
		}
	}
	if len(begins) != 7 {
		t.Errorf("only %v begin a round", begins)
	}
}

func TestARatioComparesTheMeasurementsOfOneRound(t *testing.T) {
	o := &outcome{samples: map[string][]sample{
		"callq": {{rate: 100}, {rate: 300}, {rate: 50}},
		"peer":  {{rate: 100}, {rate: 100}, {rate: 100}},
	}}
	if got := o.ratiosOf("callq", "peer"); got != (spread{1, 0.5, 3}) {
		t.Errorf("got %+v", got)
	}
}

func TestOnlyTheTableOfTheREADMEIsReplaced(t *testing.T) {
	got, err := replaceTable("before\n"+tableBegin+"old\n"+tableEnd+"after\n", "new\n")
	if want := "before\n" + tableBegin + "new\n" + tableEnd + "after\n"; err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := replaceTable("no table\n", "new\n"); err == nil {
		t.Error("a README without a table was accepted")
	}
}

func TestAJobHas100BytesOfArguments(t *testing.T) {
	for _, i := range []int{0, 9, 10, 19_999, 1_000_000} {
		text, err := jobPayload(i)
		if err != nil || len(text) != payloadSize {
			t.Errorf("job %d has %d bytes, %v", i, len(text), err)
		}
	}
}
