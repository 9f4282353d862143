package worker_test

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

func TestARecordInNoStateOrOfNoBatchEndsItsCallUnsent(t *testing.T) {
	onRedis(t, func(t *testing.T, env *callqtest.Env) {
		calls := map[string]string{}
		for _, corrupt := range [][2]string{{"state", "bogus"}, {"state", ""}, {"state", "OPEN"}, {"state", "gone"}, {"batch", ""}, {"batch", "gone"}} {
			id := env.Submit(tasks.Call{Path: "/corrupt"}).ID
			err := env.Redis().HSet(t.Context(), recordKey(id), corrupt[0], corrupt[1]).Err()
			if corrupt[1] == "gone" {
				err = env.Redis().HDel(t.Context(), recordKey(id), corrupt[0]).Err()
			}
			if err != nil {
				t.Fatal(err)
			}
			calls[fmt.Sprint(corrupt)] = id
		}
		env.Start()
		unsent(t, env, policy.ClassMalformedTask, calls)
	})
}

func TestCorruptCountsAndListsDoNotStopACallFromEnding(t *testing.T) {
	t.Parallel()
	for name, corrupt := range map[string]func(p redis.Pipeliner){
		"counts that are not numbers": func(p redis.Pipeliner) {
			p.HSet(t.Context(), "callq:{sim}:b:b", "open", "abc", "done", "9223372036854775807", "dead", "", "last", "1e400")
		},
		"texts": func(p redis.Pipeliner) {
			for _, key := range []string{"b:b", "e:b", "dead", "groups"} {
				p.Set(t.Context(), "callq:{sim}:"+key, "no such thing", 0)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			onRedis(t, func(t *testing.T, env *callqtest.Env) {
				env.Sim().Script("GET /bad -> 68300004 forever\nGET /good -> ok forever")
				good, bad := env.Submit(tasks.Call{Path: "/good", Batch: "b", Key: "good"}), env.Submit(tasks.Call{Path: "/bad", Batch: "b", Key: "bad"})
				pipe := env.Redis().TxPipeline()
				pipe.Del(t.Context(), "callq:{sim}:b:b")
				corrupt(pipe)
				if _, err := pipe.Exec(t.Context()); err != nil {
					t.Fatal(err)
				}
				env.Start()
				dispositionOf(t, env, "good", good.ID)
				dispositionOf(t, env, "bad", bad.ID)
				env.Stop()
				findings, err := ledger.New(env.Redis()).Audit(t.Context(), "b", tasks.TaskID)
				if err != nil || len(findings) == 0 {
					t.Errorf("audit: got %+v, %v, want findings", findings, err)
				}
			})
		})
	}
}
