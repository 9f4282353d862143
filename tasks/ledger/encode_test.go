package ledger

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"
)

// randomText returns texts with the bytes that JSON and HTML treat in their own way.
func randomText(random *rand.Rand) string {
	texts := []string{"", "", "plain text", "GET /patent/*", `"quoted" \ and`, "<b>&amp;", "line\nend\t\x00", "Größe ✓", "\xff not UTF-8", "\u2028", "{"}
	return texts[random.IntN(len(texts))]
}

func randomTime(random *rand.Rand) time.Time {
	return []time.Time{
		{}, time.UnixMilli(1_800_000_000_123).UTC(), time.Unix(1_800_000_000, 5).UTC(),
		time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}[random.IntN(5)]
}

func randomAttempt(random *rand.Rand) Attempt {
	text, number := func() string { return randomText(random) }, func() int { return random.IntN(3) * random.IntN(1000) }
	a := Attempt{
		At: randomTime(random), N: number(), Action: text(), Class: text(), Rule: text(), Status: number(), Code: text(), Transport: text(),
		CorrelationID: text(), Message: text(), Latency: int64(number()), Decided: text(), Held: int64(number()), HeldEndpoint: random.IntN(2) == 0,
		More: random.IntN(3) - 1, Amount: text(),
	}
	if random.IntN(2) == 0 {
		a.Kept, _ = json.Marshal(map[string]string{"message": text()})
	}
	return a
}

func TestAttemptsAndEndingsAreWrittenAsByEncodingJSON(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		var log []Attempt
		for range random.IntN(3) * random.IntN(12) {
			log = append(log, randomAttempt(random))
		}
		last := randomAttempt(random)
		for _, a := range []*Attempt{nil, &last} {
			want, err := json.Marshal((&Delivery{Record: Record{Log: log}}).logWith(a))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := appendLogJSON(nil, log, a); err != nil || string(got) != string(want) {
				t.Fatalf("got %s, %v; want %s", got, err, want)
			}
		}
		text, number := func() string { return randomText(random) }, func() int { return random.IntN(3) * random.IntN(1000) }
		e := Ending{
			Class: text(), Rule: text(), HTTPStatus: number(), Code: text(), Message: text(), Transport: text(), CorrelationID: text(),
			UserMessage: text(), Advice: text(), Endpoint: text(), Amount: text(), BodyEncoding: text(), Verified: random.IntN(2) == 0,
			Attempts: number(), Parked: number(), FirstAt: randomTime(random), FinishedAt: randomTime(random),
		}
		for range random.IntN(3) {
			if e.Headers == nil {
				e.Headers = map[string]string{}
			}
			e.Headers[text()] = text()
		}
		want, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := encodeEnding(e); err != nil || string(got) != string(want) {
			t.Fatalf("got %s, %v; want %s", got, err, want)
		}
	}
}

func TestATimeThatJSONCannotHoldIsAnError(t *testing.T) {
	late := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := encodeEnding(Ending{FinishedAt: late}); err == nil {
		t.Error("an ending in the year 10000 was encoded")
	}
	if _, err := appendLogJSON(nil, nil, &Attempt{At: late}); err == nil {
		t.Error("an attempt in the year 10000 was encoded")
	}
	if _, err := appendLogJSON(nil, []Attempt{{Kept: []byte("{")}}, nil); err == nil {
		t.Error("a line with broken JSON was encoded")
	}
}

func TestAPackedCallThatIsIncompleteIsRefused(t *testing.T) {
	for _, call := range []string{"", "1 1 0 0 0 3 2", "1 1 0 0 0 3 2\nmsg", "1 1 0 0 0 3 -1\nmsg", "9 1 0 0 0 3 2\nmsgid", "\nmsgid"} {
		if list, err := deliveriesFrom([]string{"q"}, time.Now(), []any{int64(1), int64(0), int64(0), int64(0), int64(0), int64(0), int64(0), "", call}); err == nil {
			t.Errorf("%q was read as %+v", call, list[0])
		}
	}
}
