package notify

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
)

func TestTheChangesOfACircuitAreToldOnceAndShortHoldsAreNot(t *testing.T) {
	now := at
	earlier := now.Add(-time.Hour)
	name := circuit.Name{Upstream: "api", Endpoint: "GET /a"}
	open := func(since, until time.Time) circuit.Record {
		return circuit.Record{Name: name, State: circuit.Open, Since: since, Until: until, Reason: "quota", Class: "quota", Message: "slow down"}
	}
	closed := circuit.Record{Name: name, State: circuit.Closed}
	for _, c := range []struct {
		name   string
		record circuit.Record
		told   time.Time
		want   []Type
	}{
		{"never open", closed, time.Time{}, nil},
		{"opens for a minute", open(now, now.Add(time.Minute)), time.Time{}, []Type{TypeCircuitOpened}},
		{"opens for a second", open(now, now.Add(time.Second)), time.Time{}, nil},
		{"is open for long, in short holds", open(now.Add(-10*time.Second), now.Add(time.Second)), time.Time{}, []Type{TypeCircuitOpened}},
		{"is still open", open(earlier, now.Add(time.Minute)), earlier, nil},
		{"is on a later rung, for a moment", open(earlier, now.Add(time.Second)), earlier, nil},
		{"has closed", closed, earlier, []Type{TypeCircuitClosed}},
		{"has closed and opened again", open(now, now.Add(time.Minute)), earlier, []Type{TypeCircuitClosed, TypeCircuitOpened}},
		{"has closed and opened again for a second", open(now, now.Add(time.Second)), earlier, []Type{TypeCircuitClosed}},
	} {
		t.Run(c.name, func(t *testing.T) {
			news, err := changesOf(c.record, c.told, now)
			if err != nil {
				t.Fatal(err)
			}
			var got []Type
			for _, n := range news {
				got = append(got, n.Message.Type)
				if n.Circuit != "api~GET~/a" || n.Since.IsZero() != (n.Message.Type == TypeCircuitClosed) {
					t.Errorf("it is about %s, open since %s", n.Circuit, n.Since)
				}
			}
			if len(got) != len(c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("got %v, want %v", got, c.want)
				}
			}
		})
	}
}
