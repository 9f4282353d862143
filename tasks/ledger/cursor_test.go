package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// endInTurns accepts n calls in three queues and ends them one after the other.
func endInTurns(d *fixture, state State, n int) (keys []string) {
	for i := range n {
		queue, key := []string{"q", "q:high", "r"}[i%3], fmt.Sprintf("k%03d", i)
		d.end(d.acceptAndTake("b", queue, key), finalOf(state))
		keys = append(keys, key)
	}
	return keys
}

func TestEndingsContinueAfterTheTextOfACursor(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		keys := endInTurns(d, Done, 9)
		text, got := "", []string{}
		for range keys {
			cur, err := ParseCursor(text)
			d.must(err)
			for r, err := range d.l.Endings(t.Context(), "b", cur) {
				d.must(err)
				got = append(got, r.Key)
				break
			}
			text = cur.String()
		}
		if !slices.Equal(got, keys) {
			t.Errorf("read one by one: got %v, want %v", got, keys)
		}
		cur, err := ParseCursor(text)
		d.must(err)
		for r := range d.l.Endings(t.Context(), "b", cur) {
			t.Errorf("after the last one: got %s", r.Key)
		}
	})
}

func TestEndingsUntilAWatermarkLeaveOutLaterOnes(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		first := endInTurns(d, Dead, 3)
		until, err := d.l.Watermark(t.Context(), "b")
		d.must(err)
		later := d.acceptAndTake("b", "q", "later")
		other := d.acceptAndTake("b", "s", "other")
		d.end(later, finalOf(Done))
		d.end(other, finalOf(Done))
		read := func(cur *Cursor, until Watermark) (keys []string) {
			for r, err := range d.l.EndingsUntil(t.Context(), "b", cur, until) {
				d.must(err)
				keys = append(keys, r.Key)
			}
			return keys
		}
		cur := &Cursor{}
		if got := read(cur, until); !slices.Equal(got, first) {
			t.Errorf("up to the watermark: got %v, want %v", got, first)
		}
		until, err = d.l.Watermark(t.Context(), "b")
		d.must(err)
		if got := read(cur, until); !slices.Equal(got, []string{"later", "other"}) {
			t.Errorf("after the watermark: got %v", got)
		}
	})
}

func TestDeadLettersContinueAfterTheTextOfACursor(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		keys := endInTurns(d, Dead, 9)
		group := finalOf(Dead).Group.Name()
		// As many calls as fill more than a page end in the same microsecond.
		same := time.Now().UnixMicro()
		for i := range page + 20 {
			key := fmt.Sprintf("same%04d", i)
			keys = append(keys, key)
			id := idOf("b", key)
			d.must(rdb.HSet(t.Context(), keysOf("q").record(id), "state", "dead", "batch", "b", "origin", "h 0 "+key).Err())
			for _, list := range []string{keysOf("q").dead(), keysOf("q").deadGroup(group)} {
				d.must(rdb.ZAdd(t.Context(), list, redis.Z{Score: float64(same), Member: id}).Err())
			}
		}
		for _, of := range []string{"", group} {
			text, got := "", []string{}
			for range len(keys) + 1 {
				cur, err := ParseDeadCursor(text)
				d.must(err)
				n := 0
				for r, err := range d.l.DeadAfter(t.Context(), of, cur) {
					d.must(err)
					got = append(got, r.Key)
					if n++; n == 100 {
						break
					}
				}
				if text = cur.String(); n < 100 {
					break
				}
			}
			slices.Sort(got)
			want := slices.Clone(keys)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("group %q: got %d dead letters, want each of %d once", of, len(got), len(want))
			}
		}
	})
}

func TestACursorIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &Cursor{last: rapid.MapOf(rapid.String(), rapid.Map(rapid.Int64Range(0, 1<<53), func(n int64) string { return fmt.Sprint(n) })).Draw(t, "last")}
		text := c.String()
		if strings.ContainsAny(text, " \r\n\x00\"&=#") {
			t.Fatalf("the text %q needs quoting", text)
		}
		got, err := ParseCursor(text)
		if err != nil || fmt.Sprint(got.last) != fmt.Sprint(c.last) {
			t.Fatalf("%q: got %v, %v, want %v", text, got, err, c.last)
		}
		dead := DeadCursor{queue: rapid.StringN(1, -1, -1).Draw(t, "queue"), score: fmt.Sprint(rapid.Int64Range(0, 1<<53).Draw(t, "score")), id: rapid.String().Draw(t, "id")}
		if again, err := ParseDeadCursor(dead.String()); err != nil || *again != dead {
			t.Fatalf("%q: got %v, %v, want %v", dead, again, err, dead)
		}
	})
}

func TestOtherTextIsNotACursor(t *testing.T) {
	for _, text := range []string{"x", "q", "q.", "q.-1", "q.01", "q.x", "q.1~", "q.1~q.2", "%zz.1", "q.99999999999999999999", strings.Repeat("q.1~", maxCursor)} {
		if _, err := ParseCursor(text); !errors.Is(err, ErrCursor) {
			t.Errorf("ParseCursor(%.20q): %v", text, err)
		}
	}
	for _, text := range []string{"x", "q~1", "~1~id", "q~x~id", "q~(~id", "q~1~%zz", "q~1~id~", strings.Repeat("q", maxCursor) + "~1~id"} {
		if _, err := ParseDeadCursor(text); !errors.Is(err, ErrCursor) {
			t.Errorf("ParseDeadCursor(%.20q): %v", text, err)
		}
	}
}
