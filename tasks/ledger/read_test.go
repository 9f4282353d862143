package ledger

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"reflect"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// readMeter measures how many bytes each pipeline of a client reads.
type readMeter struct{ most int }

func (s *readMeter) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (s *readMeter) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (s *readMeter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		weight := 0
		for _, cmd := range cmds {
			switch reply := cmd.(type) {
			case *redis.MapStringStringCmd:
				for field, value := range reply.Val() {
					weight += len(field) + len(value)
				}
			case *redis.SliceCmd:
				for _, value := range reply.Val() {
					weight += len(redislua.Text(value))
				}
			}
		}
		s.most = max(s.most, weight)
		return err
	}
}

func TestLargeAnswersAreReadAFewAtATime(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		const calls, weight = 15, 1 << 20
		d := newFixture(t, rdb)
		for i := range calls {
			delivery := d.acceptAndTake("b", "q", fmt.Sprint(i))
			f := finalOf([]State{Dead, Done}[i%2])
			f.Body = bytes.Repeat([]byte("x"), weight)
			d.end(delivery, f)
		}
		var weighed readMeter
		rdb.AddHook(&weighed)
		for name, read := range map[string]struct {
			records iter.Seq2[Record, error]
			want    int
		}{
			"endings": {d.l.Endings(t.Context(), "b", &Cursor{}), calls},
			"whole":   {d.l.WholeEndings(t.Context(), "b", &Cursor{}), calls},
			"calls":   {d.l.Calls(t.Context(), "b", idOf), calls},
			"dead":    {d.l.Dead(t.Context(), ""), (calls + 1) / 2},
		} {
			weighed.most = 0
			seen := map[string]bool{}
			for r, err := range read.records {
				d.must(err)
				if len(r.Body) != weight || seen[r.Key] {
					t.Errorf("%s: call %s has %d bytes, read twice: %v", name, r.Key, len(r.Body), seen[r.Key])
				}
				seen[r.Key] = true
			}
			if len(seen) != read.want {
				t.Errorf("%s: read %d calls, want %d", name, len(seen), read.want)
			}
			if weighed.most < weight || weighed.most > maxReadBytes+weight/2 {
				t.Errorf("%s: got up to %d bytes read at once", name, weighed.most)
			}
		}
	})
}

func TestTheEndingsAreTheWholeRecordsWithoutLogs(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		for i, body := range [][]byte{nil, {}, []byte("answer")} {
			delivery := d.acceptAndTake("b", "q", fmt.Sprint(i))
			f := finalOf([]State{Dead, Done, Dropped}[i])
			f.Body, f.BodyType = body, "text/plain"
			d.end(delivery, f)
		}
		var results, whole []Record
		for r, err := range d.l.Endings(t.Context(), "b", &Cursor{}) {
			d.must(err)
			results = append(results, r)
		}
		for r, err := range d.l.WholeEndings(t.Context(), "b", &Cursor{}) {
			d.must(err)
			r.Log, r.Lineage, r.Earlier, r.Starts = nil, nil, Earlier{}, 0
			whole = append(whole, r)
		}
		if len(results) != 3 || !reflect.DeepEqual(results, whole) {
			t.Errorf("got %+v, want %+v", results, whole)
		}
	})
}

func TestRecordsOfAllSizesAreReadInTheirOrder(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		var ids []string
		var want []Record
		for i := range 300 {
			// Up to 20 of the middle ones fit into one step; a script only measures the large ones.
			size := []int{0, 1, 255, 256, 60_000, 65_536, 70_000, 3_000_000}[i%8]
			if size > 100_000 && i > 16 {
				size = 10
			}
			f := finalOf(Done)
			f.Body = bytes.Repeat([]byte{0, '\n', 0xff}, size/3+1)[:size]
			delivery := d.acceptAndTake("b", "q", fmt.Sprint(i))
			d.end(delivery, f)
			r, err := d.l.Get(t.Context(), "q", delivery.ID)
			d.must(err)
			ids, want = append(ids, r.ID, "missing"), append(want, r, Record{ID: "missing", Queue: "q"})
		}
		d.must(rdb.Set(t.Context(), keysOf("q").record("text"), "x", 0).Err())
		ids, want = append(ids, "text"), append(want, Record{ID: "text", Queue: "q"})
		for name, names := range map[string][]string{"all fields": nil, "results": resultFields} {
			i := 0
			for got, err := range d.l.eachWith(t.Context(), "q", ids, names) {
				d.must(err)
				one := want[i]
				if names != nil {
					one.Log, one.Starts = nil, 0
				}
				if i++; !reflect.DeepEqual(got, one) {
					t.Fatalf("%s: record %d: got %.300v, want %.300v", name, i, got, one)
				}
			}
			if i != len(ids) {
				t.Errorf("%s: got %d records, want %d", name, i, len(ids))
			}
		}
	})
}
