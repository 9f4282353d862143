package worker

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/policy"
)

// modelPolicyOf is the policy of the model's account.
func modelPolicyOf(t *testing.T) *policy.Policy {
	t.Helper()
	pol, err := policy.Parse("model.yaml", []byte(modelPolicy))
	if err != nil {
		t.Fatal(err)
	}
	return pol
}

// liveBySeed takes the fleet of one seed through its life.
func liveBySeed(t *testing.T, pol *policy.Policy, seed uint64) (history uint64) {
	t.Helper()
	for name, value := range map[string]string{"checks": "1", "steps": modelSteps, "nofailfile": "true", "seed": fmt.Sprint(seed)} {
		defer func(before string) { _ = flag.Set("rapid."+name, before) }(flag.Lookup("rapid." + name).Value.String())
		if err := flag.Set("rapid."+name, value); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		if t.Failed() {
			t.Logf("repeat it with: make simulate SEEDS=1 SEED=%d", seed)
		}
	}()
	rapid.Check(t, func(rt *rapid.T) { history = live(t, rt, pol) })
	return history
}

func TestASeedRepeatsTheWholeHistoryOfAFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("rapid checks nothing")
	}
	pol, seen := modelPolicyOf(t), map[uint64]bool{}
	for seed := range uint64(3) {
		first := liveBySeed(t, pol, seed+1)
		if again := liveBySeed(t, pol, seed+1); again != first {
			t.Errorf("seed %d: the history is %x, and then %x", seed+1, first, again)
		}
		seen[first] = true
	}
	if len(seen) != 3 {
		t.Errorf("three seeds have %d histories", len(seen))
	}
}

// TestTheInvariantsHoldForEverySeed runs the model for the seeds that
// CALLQ_SEEDS and CALLQ_SEED name, in the shard of them that CALLQ_SHARD names: see
// make simulate.
func TestTheInvariantsHoldForEverySeed(t *testing.T) {
	number := func(name string, otherwise uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return otherwise
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	seeds, first := number("CALLQ_SEEDS", 0), number("CALLQ_SEED", 1)
	shard, shards := number("CALLQ_SHARD", 0), number("CALLQ_SHARDS", 1)
	if seeds == 0 {
		t.Skip("run it with make simulate")
	}
	pol, began, made := modelPolicyOf(t), time.Now(), 0
	for seed := first + shard; seed < first+seeds; seed += shards {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			history := liveBySeed(t, pol, seed)
			t.Logf("seed %d: history %x", seed, history)
		})
		if made++; made%100 == 0 {
			fmt.Printf("%d seeds so far, the last one is %d\n", made, seed)
		}
	}
	fmt.Printf("%d seeds from %d on, every %d. of them, in %s\n", made, first+shard, shards, time.Since(began).Round(time.Second))
}
