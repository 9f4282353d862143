package ledger

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// fileOf replaces Redis's reply about its append-only file, and counts the requests.
type fileOf struct {
	redis.Hook
	mu    sync.Mutex
	sync  string
	info  string
	fails error
	asked int
	// again gets a value for every request.
	again chan struct{}
}

func (f *fileOf) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f *fileOf) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f *fileOf) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := next(ctx, cmds); err != nil {
			return err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, cmd := range cmds {
			switch c := cmd.(type) {
			case *redis.StringCmd:
				if c.Name() == "info" {
					c.SetVal(f.info)
					c.SetErr(f.fails)
					f.asked++
					select {
					case f.again <- struct{}{}:
					default:
					}
				}
			case *redis.MapStringStringCmd:
				c.SetVal(map[string]string{"appendfsync": f.sync})
			}
		}
		return nil
	}
}

// say sets how many bytes of the file are written and how many are not.
func (f *fileOf) say(written, unwritten, base int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.info = fmt.Sprintf("aof_enabled:1\r\naof_current_size:%d\r\naof_base_size:%d\r\naof_buffer_length:%d\r\n", written, base, unwritten)
}

// await returns after n more requests.
func (f *fileOf) await(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-f.again:
		case <-time.After(30 * time.Second):
			t.Fatal("Redis was not asked again")
		}
	}
}

// marking begins to mark a call as sent; the channel gets the result.
func marking(d *fixture, delivery *Delivery) <-chan marked {
	c := make(chan marked, 1)
	go func() {
		_, applied, err := d.dispatcher.MarkSent(d.Context(), delivery, 1, true, "")
		c <- marked{applied, err}
	}()
	return c
}

type marked struct {
	applied bool
	err     error
}

func newFile(t *testing.T, sync string) (*fixture, *fileOf) {
	rdb := redistest.Redis(t).Client
	f := &fileOf{sync: sync, again: make(chan struct{}, 1)}
	rdb.AddHook(f)
	return newFixture(t, rdb), f
}

func TestACallThatMustNotBeSentTwiceWaitsUntilItsMarkIsWritten(t *testing.T) {
	for name, written := range map[string]func(f *fileOf){
		"it is in the file":    func(f *fileOf) { f.say(150, 30, 40) },
		"nothing is unwritten": func(f *fileOf) { f.say(120, 0, 40) },
	} {
		t.Run(name, func(t *testing.T) {
			d, f := newFile(t, "everysec")
			f.say(100, 50, 40)
			delivery := d.acceptAndTake("b", "q", "k")
			done := marking(d, delivery)
			f.await(t, 3)
			f.say(149, 31, 40) // other clients write too
			f.await(t, 3)
			f.say(170, 30, 90) // a file that was rewritten has another size for the same content
			f.await(t, 3)
			f.say(199, 1, 90)
			f.await(t, 3)
			f.say(100, 50, 40)
			f.await(t, 3)
			select {
			case m := <-done:
				t.Fatalf("the call was sent before its mark was written: %+v", m)
			default:
			}
			written(f)
			if m := <-done; m.err != nil || !m.applied {
				t.Fatalf("the call was not sent although its mark is written: %+v", m)
			}
		})
	}
}

func TestACallWhoseMarkRedisHasForgottenIsNotSent(t *testing.T) {
	d, f := newFile(t, "everysec")
	f.say(100, 50, 0)
	delivery := d.acceptAndTake("b", "q", "k")
	done := marking(d, delivery)
	f.await(t, 3)
	d.must(d.rdb.HDel(d.Context(), keysOf("q").record(delivery.ID), "sent", "mark").Err()) // as after a kill and a restart of the server
	if m := <-done; m.err != nil || m.applied {
		t.Fatalf("the call was sent all the same: %+v", m)
	}
}

// reply is an error reply of Redis.
type reply string

func (r reply) Error() string { return string(r) }

func (reply) RedisError() {}

// A server that is killed on a slow disk and started again delivers a call under the
// count of starts that an earlier delivery of it has.
func TestAWorkerThatRedisHasForgottenDoesNotChangeAnotherWorkersMark(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		late := map[string]func(d *fixture, first *Delivery) bool{
			"parks": func(d *fixture, first *Delivery) bool {
				_, applied, err := d.dispatcher.Park(d.Context(), first, nil)
				d.must(err)
				return applied
			},
			"records an attempt": func(d *fixture, first *Delivery) bool {
				_, applied, err := d.dispatcher.Attempt(d.Context(), first, nil)
				d.must(err)
				return applied
			},
			"marks": func(d *fixture, first *Delivery) bool {
				_, applied, err := d.dispatcher.MarkSent(d.Context(), first, 1, true, "")
				d.must(err)
				return applied
			},
		}
		for what, touch := range late {
			d := newFixture(t, rdb)
			first := d.acceptAndTake("b", "q", what)
			k := keysOf("q")
			// The server's file has the call as it was before the first delivery.
			d.must(rdb.HDel(d.Context(), k.record(first.ID), "starts").Err())
			d.must(rdb.LRem(d.Context(), k.active(), 0, first.ID).Err())
			d.must(rdb.LPush(d.Context(), k.pending(), first.ID).Err())
			second := d.take("q")
			if second.Token != first.Token {
				t.Fatalf("the starts of the two deliveries differ: %d and %d", first.Token, second.Token)
			}
			if _, applied, err := d.dispatcher.MarkSent(d.Context(), second, 1, true, ""); err != nil || !applied {
				t.Fatal(applied, err)
			}
			if touch(d, first) {
				t.Errorf("the first worker %s", what)
			}
			if r := d.record("q", first.ID); r.Sent != 1 {
				t.Errorf("after the first worker %s the second one's mark is gone", what)
			}
			if _, applied, err := d.dispatcher.Attempt(d.Context(), second, nil); err != nil || !applied {
				t.Error("the second worker cannot record its attempt:", applied, err)
			}
		}
	})
}

func TestATemporaryErrorOfINFODelaysTheCallAndARefusalDoesNot(t *testing.T) {
	d, f := newFile(t, "everysec")
	f.say(100, 50, 0)
	f.fails = reply("LOADING Redis is loading the dataset in memory")
	if m := <-marking(d, d.acceptAndTake("b", "q", "a")); m.err == nil {
		t.Fatalf("the call was sent although it is not known whether its mark is written: %+v", m)
	}
	f.fails = nil
	delivery := d.acceptAndTake("b", "q", "b")
	<-f.again
	done := marking(d, delivery)
	f.await(t, 3)
	f.say(150, 0, 0)
	if m := <-done; m.err != nil || !m.applied {
		t.Fatalf("got %+v", m)
	}
	f.fails = reply("NOPERM this user has no permissions to run the 'info' command")
	if m := <-marking(d, d.acceptAndTake("b", "q", "c")); m.err != nil || !m.applied {
		t.Fatalf("a Redis that refuses INFO stops the call: %+v", m)
	}
}

func TestARedisThatWritesBeforeItAnswersIsAskedOnceASecond(t *testing.T) {
	for _, sync := range []string{"always", "no"} {
		d, f := newFile(t, sync)
		f.say(100, 50, 0)
		began := time.Now()
		for i := range 200 {
			if m := <-marking(d, d.acceptAndTake("b", "q", fmt.Sprint(i))); m.err != nil || !m.applied {
				t.Fatalf("%s: %+v", sync, m)
			}
		}
		if most := int(time.Since(began)/settingsFor) + 1; f.asked > most {
			t.Errorf("%s: got %d requests for 200 calls, want %d at most", sync, f.asked, most)
		}
	}
}

// With everysec and an idle file one or two requests are enough.
func TestAMarkIsWrittenAtOnceOnAQuickDisk(t *testing.T) {
	d := newFixture(t, redistest.Redis(t).Client)
	for i := range 20 {
		if m := <-marking(d, d.acceptAndTake("b", "q", fmt.Sprint(i))); m.err != nil || !m.applied {
			t.Fatalf("got %+v", m)
		}
	}
}
