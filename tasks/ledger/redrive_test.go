package ledger

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// purgeAll and redriveAll change records of one queue in one script.
func (d *fixture) purgeAll(list ...Record) []Change {
	d.Helper()
	changes, err := d.l.PurgeAll(d.Context(), list[0].Queue, list)
	d.must(err)
	return changes
}

func (d *fixture) redriveAll(list ...Record) []Change {
	d.Helper()
	calls := make([]Reopening, len(list))
	for i, r := range list {
		calls[i] = Reopening{Record: r, Message: "message again"}
		if len(r.Key)%2 == 0 {
			calls[i].Deadline = time.Unix(4e9, 0)
		}
	}
	changes, err := d.l.RedriveAll(d.Context(), list[0].Queue, calls, false)
	d.must(err)
	return changes
}

// inEveryCondition makes calls of queue q, each in another condition, and returns the
// records as someone read them before the last thing happened to them.
func (d *fixture) inEveryCondition() (names []string, read map[string]Record) {
	d.Helper()
	read = map[string]Record{}
	put := func(name string, r Record) { names, read[name] = append(names, name), r }
	dead := func(name string) Record {
		delivery := d.acceptAndTake("b-"+name[:1], "q", name)
		d.end(delivery, finalOf(Dead))
		return d.record("q", delivery.ID)
	}
	put("dead", dead("dead"))
	put("dropped", func() Record {
		delivery := d.acceptAndTake("b", "q", "dropped")
		d.end(delivery, finalOf(Dropped))
		return d.record("q", delivery.ID)
	}())
	put("done", func() Record {
		delivery := d.acceptAndTake("b", "q", "done")
		d.end(delivery, finalOf(Done))
		return d.record("q", delivery.ID)
	}())
	put("cancelled", func() Record {
		d.accept("b", "q", "cancelled")
		id := idOf("b", "cancelled")
		_, _, err := d.l.Cancel(d.Context(), d.record("q", id), Ending{Class: "cancelled"})
		d.must(err)
		return d.record("q", id)
	}())
	r := dead("dead again")
	d.redrive(r)
	d.end(d.take("q"), finalOf(Dead))
	put("dead again", r) // an earlier generation is asked for
	r = dead("purged since")
	d.purgeAll(r)
	put("purged since", r)
	r = dead("gone")
	d.must(d.rdb.Del(d.Context(), keysOf("q").record(r.ID)).Err())
	put("gone", r)
	r = dead("overwritten")
	d.must(d.rdb.Set(d.Context(), keysOf("q").record(r.ID), "not a hash", 0).Err())
	put("overwritten", r)
	r = dead("without content")
	d.must(d.rdb.HDel(d.Context(), keysOf("q").record(r.ID), "content").Err())
	put("without content", r)
	r = dead("with another task")
	d.must(d.rdb.Del(d.Context(), keysOf("q").task(r.ID)).Err())
	d.must(d.rdb.Set(d.Context(), keysOf("q").task(r.ID), "not a hash", 0).Err())
	put("with another task", r)
	r = dead("in a corrupt group")
	d.must(d.rdb.HSet(d.Context(), keysOf("q").record(r.ID), "group", "no such group").Err())
	put("in a corrupt group", r)
	delivery := d.acceptAndTake("b", "q", "held")
	_, _, err := d.dispatcher.End(d.Context(), delivery, finalOf(Dead), nil) // asynq has not archived the task yet
	d.must(err)
	put("held", d.record("q", delivery.ID))
	r = dead("redriven since")
	d.redrive(r)
	put("redriven since", r)
	return append(names, "dead"), read // the first one a second time
}

func TestOneScriptRedrivesOrPurgesEachCallByItself(t *testing.T) {
	for verb, c := range map[string]struct {
		change func(d *fixture, list ...Record) []Change
		// changed are the calls that are changed, and second is the result of the call
		// that is named a second time.
		changed []string
		second  Change
	}{
		"redrive": {(*fixture).redriveAll, []string{"dead", "dropped", "cancelled", "with another task", "in a corrupt group"}, Unchanged},
		// A purge of what was purged before is harmless.
		"purge": {(*fixture).purgeAll, []string{"dead", "purged since", "without content", "with another task", "in a corrupt group"}, Changed},
	} {
		t.Run(verb, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				names, read := d.inEveryCondition()
				var list []Record
				for _, name := range names {
					list = append(list, read[name])
				}
				before := map[string]string{}
				for _, r := range list {
					before[r.ID] = fmt.Sprint(rdb.HGetAll(t.Context(), keysOf("q").record(r.ID)).Val())
				}
				for i, got := range c.change(d, list...) {
					want := Unchanged
					switch {
					case i == len(list)-1:
						want = c.second
					case slices.Contains(c.changed, names[i]):
						want = Changed
					case names[i] == "held":
						want = StillHeld
					}
					if got != want {
						t.Errorf("%s: got %d, want %d", names[i], got, want)
					}
					if want == Changed || names[i] == "dead" {
						continue
					}
					if now := fmt.Sprint(rdb.HGetAll(t.Context(), keysOf("q").record(list[i].ID)).Val()); now != before[list[i].ID] {
						t.Errorf("%s: the record is %s, was %s", names[i], now, before[list[i].ID])
					}
				}
				if places := d.places("q", read["with another task"].ID); verb == "redrive" && fmt.Sprint(places) != "map[pending:1 task:1]" {
					t.Errorf("a call whose task was overwritten: its task is in %v", places)
				}
				if open := d.counts("b").Open; verb == "redrive" && open != 2 {
					t.Errorf("got %d open calls of batch b, want the dropped and the cancelled one", open)
				}
			})
		})
	}
}

// content is what all keys of a Redis contain, without the times of redrives.
func (d *fixture) content() map[string]string {
	d.Helper()
	redrivenAt := regexp.MustCompile(`"redriven_at":"[^"]*"`)
	all := map[string]string{}
	for _, key := range d.rdb.Keys(d.Context(), "*").Val() {
		var text string
		switch kind := d.rdb.Type(d.Context(), key).Val(); kind {
		case "hash":
			fields := d.rdb.HGetAll(d.Context(), key).Val()
			delete(fields, "pending_since")
			text = redrivenAt.ReplaceAllString(fmt.Sprint(fields), "")
		case "zset":
			text = fmt.Sprint(d.rdb.ZRangeWithScores(d.Context(), key, 0, -1).Val())
		case "list":
			text = fmt.Sprint(d.rdb.LRange(d.Context(), key, 0, -1).Val())
		case "set":
			members := d.rdb.SMembers(d.Context(), key).Val()
			slices.Sort(members)
			text = fmt.Sprint(members)
		default:
			text = d.rdb.Get(d.Context(), key).Val()
		}
		all[key] = text
	}
	return all
}

// copyAll copies all keys of a Redis, and returns a function that puts them back.
func (d *fixture) copyAll() (restore func()) {
	d.Helper()
	copies := map[string]string{}
	for _, key := range d.rdb.Keys(d.Context(), "*").Val() {
		text, err := d.rdb.Dump(d.Context(), key).Result()
		d.must(err)
		copies[key] = text
	}
	return func() {
		d.Helper()
		d.must(d.rdb.FlushDB(d.Context()).Err())
		for key, text := range copies {
			d.must(d.rdb.Restore(d.Context(), key, 0, text).Err())
		}
	}
}

// manyEnded makes n calls of two batches in random states, which are on random lists of
// asynq's, and returns their records.
func (d *fixture) manyEnded(dice *rand.Rand, n int) (list []Record) {
	d.Helper()
	for i := range n {
		key := fmt.Sprint("k", i)
		batch := []string{"b1", "b2"}[dice.IntN(2)]
		if dice.IntN(6) == 0 {
			d.accept(batch, "q", key)
			_, _, err := d.l.Cancel(d.Context(), d.record("q", idOf(batch, key)), Ending{Class: "cancelled"})
			d.must(err)
			list = append(list, d.record("q", idOf(batch, key)))
			d.dequeue("q") // removes the task, or leaves another one's
			continue
		}
		delivery := d.acceptAndTake(batch, "q", key)
		final := finalOf([]State{Dead, Dead, Dead, Dropped, Done}[dice.IntN(5)])
		final.Group.Endpoint = []string{"GET /a", "GET /b"}[dice.IntN(2)]
		final.Body = slices.Repeat([]byte("x"), dice.IntN(9))
		if dice.IntN(5) == 0 {
			d.retry("q", delivery.ID)
		}
		d.end(delivery, final)
		list = append(list, d.record("q", delivery.ID))
	}
	return list
}

func TestManyCallsChangedAtOnceAreAsIfChangedOneByOne(t *testing.T) {
	rdb := redistest.Redis(t).Client
	for verb, change := range map[string]func(d *fixture, list ...Record) []Change{"redrive": (*fixture).redriveAll, "purge": (*fixture).purgeAll} {
		for seed := range uint64(15) {
			t.Run(fmt.Sprint(verb, " ", seed), func(t *testing.T) {
				d, dice := newFixture(t, rdb), rand.New(rand.NewPCG(seed, 0))
				d.must(rdb.FlushDB(t.Context()).Err())
				calls := d.manyEnded(dice, 12)
				var list []Record
				for range 1 + dice.IntN(30) { // some of them twice
					r := calls[dice.IntN(len(calls))]
					if dice.IntN(8) == 0 {
						r.Generation++
					}
					list = append(list, r)
				}
				restore := d.copyAll()
				var want []Change
				for _, r := range list {
					want = append(want, change(d, r)...)
				}
				oneByOne := d.content()
				restore()
				got, atOnce := change(d, list...), d.content()
				if !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				for _, key := range slices.Sorted(maps.Keys(oneByOne)) {
					if atOnce[key] != oneByOne[key] {
						t.Errorf("%s is\n%s\nat once, and\n%s\none by one", key, atOnce[key], oneByOne[key])
					}
				}
				if len(atOnce) != len(oneByOne) {
					t.Errorf("got %d keys at once, %d one by one", len(atOnce), len(oneByOne))
				}
				for _, batch := range []string{"b1", "b2"} {
					if found := d.audit(batch); len(found) > 0 {
						t.Errorf("the audit found %+v", found)
					}
				}
			})
		}
	}
}

func TestDeadLettersAreRedrivenAndPurgedWhenRedisIsOutOfMemory(t *testing.T) {
	rdb := redistest.Redis(t).Client
	d := newFixture(t, rdb)
	var list []Record
	for i := range 6 {
		delivery := d.acceptAndTake("b", "q", fmt.Sprint(i))
		d.end(delivery, finalOf(Dead))
		list = append(list, d.record("q", delivery.ID))
	}
	full(d)
	if got := d.redriveAll(list[:3]...); !slices.Equal(got, []Change{Changed, Changed, Changed}) {
		t.Errorf("redrive: got %v", got)
	}
	if got := d.purgeAll(list[3:]...); !slices.Equal(got, []Change{Changed, Changed, Changed}) {
		t.Errorf("purge: got %v", got)
	}
	d.wantCounts("b", Counts{Accepted: 6, Open: 3, Dead: 3})
	for _, r := range list[:3] {
		d.wantPlaces("q", r.ID, "pending", "task")
	}
	d.must(rdb.ConfigSet(t.Context(), "maxmemory", "0").Err())
	if found := d.audit("b"); len(found) > 0 {
		t.Errorf("the audit found %+v", found)
	}
}

// Redis serves no other client while a script runs.
func TestAScriptThatChangesAHundredCallsSendsFewCommandsForEach(t *testing.T) {
	rdb := redistest.Redis(t).Client
	d := newFixture(t, rdb)
	archiveDead(d, "q", 2*MaxChanged, 1)
	var list []Record
	for r, err := range d.l.Dead(t.Context(), "") {
		d.must(err)
		list = append(list, r)
	}
	d.must(scriptRedrive.Load(t.Context(), rdb).Err())
	d.must(scriptPurge.Load(t.Context(), rdb).Err())
	d.must(rdb.ConfigResetStat(t.Context()).Err())
	d.redriveAll(list[:MaxChanged]...)
	d.purgeAll(list[MaxChanged:]...)
	stats, err := rdb.InfoMap(t.Context(), "commandstats").Result()
	d.must(err)
	ran := map[string]int{}
	for name, value := range stats["Commandstats"] {
		count, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		ran[strings.TrimPrefix(name, "cmdstat_")], err = strconv.Atoi(count)
		d.must(err)
	}
	if n := ran["evalsha"]; n != 2 {
		t.Errorf("got %d scripts for %d calls, want 2", n, len(list))
	}
	all := 0
	for name, n := range ran {
		if all += n; slices.Contains([]string{"lrange", "lrem", "lpos", "zrange", "zrangebyscore", "hgetall", "smembers"}, name) {
			t.Errorf("a script reads or searches a list: %s", name)
		}
	}
	// Each of them takes less than a microsecond.
	if most := 10 * len(list); all > most {
		t.Errorf("the scripts sent %d commands for %d calls, want at most %d", all, len(list), most)
	}
}
