package limit_test

import (
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/limit"
)

func TestASlotIsReturnedAndACostReconciledWhenRedisIsOutOfMemory(t *testing.T) {
	t.Parallel()
	client := redistest.Redis(t).Client
	a := &account{t: t, store: limit.NewStore(client), client: client}
	p := planOf(t, []string{"3/month"}, []string{"10 USD/month"}, "2")
	var slots []limit.Slot
	for range 3 {
		slot, refusal := a.take(p)
		if refusal != nil {
			t.Fatalf("refused: %+v", refusal)
		}
		slots = append(slots, slot)
	}
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.store.Take(t.Context(), "api", p); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Fatalf("Take with a full Redis: got %v, want an OOM error", err)
	}
	if err := a.store.GiveBack(t.Context(), "api", p, slots[0]); err != nil {
		t.Errorf("return a slot: %v", err)
	}
	if err := a.store.Reconcile(t.Context(), "api", p, slots[1], 5_000_000); err != nil {
		t.Errorf("reconcile a cost: %v", err)
	}
	if err := client.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	// One of three slots was returned; of 10 USD, 5 were billed and 2 are reserved. From now
	// on 5 are reserved for each call, and 3 are left.
	if _, refusal := a.take(p); refusal == nil || refusal.Reason != "budget" {
		t.Errorf("got %+v, want a refusal by the budget", refusal)
	}
	if _, refusal := a.take(planOf(t, []string{"3/month"}, nil, "")); refusal != nil {
		t.Errorf("the returned slot could not be taken: %+v", refusal)
	}
}
