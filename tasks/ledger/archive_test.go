package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// watchScripts reports every run of a script that names the key.
type watchScripts struct {
	key string
	ran chan error
}

func (*watchScripts) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*watchScripts) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (w *watchScripts) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		// EVALSHA sha n key key key archive …: asynq's own script has the archive as its fourth key.
		if args := cmd.Args(); len(args) > 6 && strings.HasPrefix(cmd.Name(), "eval") && args[6] == w.key &&
			(err == nil || !strings.HasPrefix(err.Error(), "NOSCRIPT")) {
			select {
			case w.ran <- err:
			default:
			}
		}
		return err
	}
}

// asynqArchives lets a real asynq server handle one dead letter beside an archive of
// 9,990 tasks that died 91 days ago, and returns the error of asynq's archive script.
func asynqArchives(t *testing.T, handle func(d *fixture, queue, id string)) (*fixture, error) {
	t.Helper()
	rdb := redistest.Redis(t).Client
	d := newFixture(t, rdb)
	k := keysOf("q")
	died := float64(time.Now().Add(-91 * 24 * time.Hour).Unix())
	pipe := rdb.Pipeline()
	for i := range 9990 {
		id := fmt.Sprintf("old-%d", i)
		pipe.ZAdd(t.Context(), k.archived(), redis.Z{Score: died, Member: id})
		pipe.HSet(t.Context(), k.task(id), "msg", "m", "state", "archived")
	}
	_, err := pipe.Exec(t.Context())
	d.must(err)

	encoder, err := broker.NewEncoder()
	d.must(err)
	e := entryOf("b", "q", "k")
	m, err := encoder.Encode(t.Context(), "q", e.ID, "call", nil, nil)
	d.must(err)
	e.Message = m.Data
	d.send("b", e)

	watch := &watchScripts{key: k.archived(), ran: make(chan error, 1)}
	client := redis.NewClient(rdb.Options())
	t.Cleanup(func() { _ = client.Close() })
	client.AddHook(watch)
	server := asynq.NewServerFromRedisClient(client, asynq.Config{
		Concurrency: 1, Queues: map[string]int{"q": 1}, LogLevel: asynq.FatalLevel, TaskCheckInterval: 10 * time.Millisecond,
		ShutdownTimeout: time.Second,
	})
	d.must(server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		handle(d, "q", task.ResultWriter().TaskID())
		return fmt.Errorf("dead: %w", asynq.SkipRetry)
	})))
	t.Cleanup(server.Shutdown)
	select {
	case err := <-watch.ran:
		return d, err
	case <-time.After(30 * time.Second):
		t.Fatal("asynq never archived the task")
		return nil, nil
	}
}

func TestDeadLettersAreArchivedBesideThousandsOfOldOnes(t *testing.T) {
	d, err := asynqArchives(t, func(d *fixture, queue, id string) {
		_, applied, err := d.dispatcher.End(context.Background(), &Delivery{Record: d.record(queue, id)}, finalOf(Dead), nil)
		if err != nil || !applied {
			d.Error(applied, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	d.wantPlaces("q", idOf("b", "k"), "archived", "task")
	k := keysOf("q")
	if n := d.rdb.ZCard(t.Context(), k.archived()).Val(); n != 1 {
		t.Fatalf("the archive holds %d tasks", n)
	}
	if n := len(d.rdb.Keys(t.Context(), k.taskPrefix()+"*").Val()); n != 1 {
		t.Fatalf("%d tasks are left in Redis", n)
	}
}

// This is why the ledger trims the archive: when this test fails, asynq trims it
// without an error.
func TestAsynqAloneFailsOnThousandsOfOldDeadLetters(t *testing.T) {
	d, err := asynqArchives(t, func(*fixture, string, string) {})
	if err == nil || !strings.Contains(err.Error(), "unpack") {
		t.Fatalf("asynq's archive script returned %v", err)
	}
	// Its script has written half of its changes, and will fail in the same way for
	// ever.
	if n := d.rdb.ZCard(t.Context(), keysOf("q").archived()).Val(); n != 9991 {
		t.Fatalf("the archive holds %d tasks", n)
	}
}

func TestTheArchiveIsKeptBelowAsynqsLimit(t *testing.T) {
	d := newFixture(t, redistest.Redis(t).Client)
	k := keysOf("q")
	pipe := d.rdb.Pipeline()
	now := time.Now().Unix()
	for i := range archiveKeep + 1500 {
		id := fmt.Sprintf("other-%05d", i)
		pipe.ZAdd(t.Context(), k.archived(), redis.Z{Score: float64(now - 10000 + int64(i)), Member: id})
		pipe.HSet(t.Context(), k.task(id), "msg", "m", "state", "archived")
	}
	_, err := pipe.Exec(t.Context())
	d.must(err)
	d.end(d.acceptAndTake("b", "q", "k"), finalOf(Dead))
	if n := d.rdb.ZCard(t.Context(), k.archived()).Val(); n != archiveKeep+1 {
		t.Fatalf("the archive holds %d tasks", n)
	}
	for id, want := range map[string]error{"other-01499": redis.Nil, "other-01500": nil} {
		if err := d.rdb.HGet(t.Context(), k.task(id), "msg").Err(); !errors.Is(err, want) {
			t.Errorf("%s: %v", id, err)
		}
	}
	// The ledger's dead letter does not depend on it.
	d.must(d.rdb.Del(t.Context(), k.archived()).Err())
	if redriven, _ := d.redrive(d.record("q", idOf("b", "k"))); !redriven {
		t.Fatal("a dead letter that is not in asynq's archive cannot be redriven")
	}
}
