package redistest_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestEveryBackEndIsEmptyAndRunsScripts(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		if n := client.DBSize(t.Context()).Val(); n != 0 {
			t.Fatalf("%d keys before the test", n)
		}
		got, err := client.Eval(t.Context(), "redis.call('set', KEYS[1], ARGV[1]); return redis.call('get', KEYS[1])", []string{"k"}, "v").Text()
		if err != nil || got != "v" {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}

func TestALongPipelineEndsOnEveryBackEnd(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		pipe := client.Pipeline()
		value := strings.Repeat("x", 1000)
		for range 2000 {
			pipe.Set(t.Context(), "k", value, 0)
			pipe.Get(t.Context(), "k")
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestManyClientsOfMiniredisAtOnce(t *testing.T) {
	client, _ := redistest.Mini(t)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 20 {
				if err := client.Incr(t.Context(), "n").Err(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n, err := client.Get(t.Context(), "n").Int(); n != 640 {
		t.Fatalf("got count %d, %v", n, err)
	}
}

func TestAnAcknowledgedWriteSurvivesAKill(t *testing.T) {
	s := redistest.Redis(t)
	if err := s.Client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	before := s.Pid()
	s.Restart()
	if s.Pid() == before {
		t.Fatal("the server was not restarted")
	}
	if got, err := s.Client.Get(t.Context(), "k").Result(); got != "v" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestMiniredisKeysExpireInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := redistest.Mini(t)
		if err := client.Set(t.Context(), "k", "v", time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour) // by the bubble's clock
		if n := client.Exists(t.Context(), "k").Val(); n != 0 {
			t.Fatal("the key still exists after its time")
		}
	})
}
