package limit_test

import (
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/limit"
)

func TestASlotIsGivenBackAndABillSettledWhenRedisIsOutOfMemory(t *testing.T) {
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
		t.Fatalf("a slot is taken, or refused for another reason, though Redis is full: %v", err)
	}
	if err := a.store.GiveBack(t.Context(), "api", p, slots[0]); err != nil {
		t.Errorf("give a slot back: %v", err)
	}
	if err := a.store.Reconcile(t.Context(), "api", p, slots[1], 5_000_000); err != nil {
		t.Errorf("settle a bill: %v", err)
	}
	if err := client.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	// One of three calls came back; of 10 USD, 5 were billed and 2 are set aside.
	// From now on 5 are set aside for each call, and 3 are left.
	if _, refusal := a.take(p); refusal == nil || refusal.Reason != "budget" {
		t.Errorf("a call more than the budget allows: %+v", refusal)
	}
	if _, refusal := a.take(planOf(t, []string{"3/month"}, nil, "")); refusal != nil {
		t.Errorf("the slot that was given back is not to be had: %+v", refusal)
	}
}
