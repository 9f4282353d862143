package worker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

func TestACredentialThatIsRotatedIsTestedAtOnceByOneCall(t *testing.T) {
	t.Parallel()
	patient := parse(t, "version: 1\nname: patient\nextends: patsnap\nholds:\n  credential: {sources: [retry-after, ladder], ladder: [1h]}\n")
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "token")
		rotate := func(token string) {
			t.Helper()
			if err := os.WriteFile(file+".new", []byte(token), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		}
		rotate("old")
		env := callqtest.New(t, worker.Config{Redis: client, Upstreams: []worker.Upstream{{
			Name: callqtest.Upstream, Policy: patient, Concurrency: 1, Auth: worker.Bearer(worker.FileSecret(file)),
		}}})
		const calls = 20
		env.Sim().Script("shared * * -> 67200003 x4; ok forever")
		for i := range calls {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/%d", i), Batch: "b", Key: fmt.Sprint(i)})
		}
		env.Start()
		circuits := circuit.NewStore(client, "test")
		awaitRung := func(rung, arrivals int) {
			t.Helper()
			awaitTrue(t, fmt.Sprintf("a hold on rung %d", rung), func() bool {
				r, err := circuits.Get(t.Context(), circuit.Name{Upstream: callqtest.Upstream})
				return err == nil && r.State == circuit.Open && r.Rung == rung
			})
			if n := env.Sim().Arrivals(); n != arrivals {
				t.Errorf("%d calls arrived before the hold on rung %d, want %d", n, rung, arrivals)
			}
		}
		awaitRung(1, 3)
		// Another wrong credential costs one call; the next one is right.
		rotate("no better")
		awaitRung(2, 4)
		rotate("new")
		done := 0
		for _, r := range env.AwaitBatch("b") {
			if r.State == tasks.StateDone {
				done++
			} else if r.State != tasks.StateDead || r.Class != string(policy.ClassAuth) {
				t.Errorf("%s ended %s (%s)", r.Key, r.State, r.Class)
			}
		}
		if n := env.Sim().Arrivals(); done != calls-3 || n != calls+1 {
			t.Errorf("%d calls are done and %d arrived, want %d and %d", done, n, calls-3, calls+1)
		}
	})
}
