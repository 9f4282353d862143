package notify

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

var at = time.Date(2026, 5, 4, 18, 30, 0, 123456000, time.UTC)

var examples = []struct {
	event       Event
	json, slack string
}{
	{
		BatchEnded{ID: "msg_a", At: at, Batch: "night-1", Created: at.Add(-time.Hour), Accepted: 100, Done: 97, Dead: 2, Cancelled: 1},
		`{"type":"batch_ended","timestamp":"2026-05-04T18:30:00.123456Z","data":{"batch":"night-1","created":"2026-05-04T17:30:00.123456Z","accepted":100,"done":97,"dead":2,"dropped":0,"cancelled":1}}`,
		`{"text":"Batch night-1 has ended: 100 calls, 97 done, 2 dead, 1 cancelled"}`,
	},
	{
		CircuitOpened{ID: "msg_b", At: at, Circuit: "api~GET~/a/*", Upstream: "api", Endpoint: "GET /a/*", Reason: "quota", Why: `HTTP 429 "Slow down"`, Until: at.Add(5 * time.Minute), Waiting: 241},
		`{"type":"circuit_opened","timestamp":"2026-05-04T18:30:00.123456Z","data":{"circuit":"api~GET~/a/*","upstream":"api","endpoint":"GET /a/*","reason":"quota","why":"HTTP 429 \"Slow down\"","until":"2026-05-04T18:35:00.123456Z","waiting":241}}`,
		`{"text":"api~GET~/a/* is paused until 2026-05-04 18:35:00 UTC (quota): HTTP 429 \"Slow down\"; 241 calls wait"}`,
	},
	{
		CircuitClosed{ID: "msg_c", At: at, Circuit: "api", Upstream: "api", Opened: at.Add(-5 * time.Minute)},
		`{"type":"circuit_closed","timestamp":"2026-05-04T18:30:00.123456Z","data":{"circuit":"api","upstream":"api","opened":"2026-05-04T18:25:00.123456Z"}}`,
		`{"text":"api: calls are sent again, after a pause of 5m0s"}`,
	},
	{
		DeadGroup{ID: "msg_d", At: at, Upstream: "api", Group: "0a1b2c3d", Class: "auth", Code: "67200003", Message: "No <access>.", Advice: "Renew the key.", Count: 3, Example: "id-1"},
		`{"type":"dead_group","timestamp":"2026-05-04T18:30:00.123456Z","data":{"upstream":"api","group":"0a1b2c3d","class":"auth","error_code":"67200003","user_message":"No \u003caccess\u003e.","advice":"Renew the key.","count":3,"example":"id-1"}}`,
		`{"text":"api: 3 calls have failed for good (auth, code 67200003): No \u0026lt;access\u0026gt;. Renew the key. Example: callq dead show id-1"}`,
	},
}

func TestEachEventHasItsJSONAndItsText(t *testing.T) {
	for _, x := range examples {
		m, err := MessageOf(x.event)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.JSON(); err != nil || string(got) != x.json {
			t.Errorf("got  %s, %v\nwant %s", got, err, x.json)
		}
		if got, err := m.Slack(); err != nil || string(got) != x.slack {
			t.Errorf("got  %s, %v\nwant %s", got, err, x.slack)
		}
		if back, err := m.Event(); err != nil || !reflect.DeepEqual(back, x.event) {
			t.Errorf("it is read as %+v, %v", back, err)
		}
	}
}

func TestAnEventOfANewerCallqIsAnError(t *testing.T) {
	m := Message{ID: "msg_x", Type: "moon_rose", Data: []byte(`{}`)}
	if _, err := m.Event(); err == nil || !strings.Contains(err.Error(), "moon_rose") {
		t.Errorf("got %v", err)
	}
}

func TestAnIDDependsOnAllItsPartsAndHasNoFullStop(t *testing.T) {
	ids := map[string]bool{}
	for _, parts := range [][]any{{"a", "b"}, {"ab"}, {"a", "b", ""}, {"a.b"}, {"a", int64(1795921493078123)}, {"a", int64(1795921493078124)}} {
		id := idOf(parts...)
		if ids[id] || strings.Contains(id, ".") || id != idOf(parts...) {
			t.Errorf("the id of %q is %s", parts, id)
		}
		ids[id] = true
	}
}
