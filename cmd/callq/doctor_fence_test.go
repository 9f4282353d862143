package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestDoctorReportsAClosedFenceListsTheCallsAndOpensIt(t *testing.T) {
	t.Parallel()
	server := redistest.Redis(t)
	dir := t.TempDir()
	path, calls := filepath.Join(dir, "callq.yaml"), filepath.Join(dir, "calls.jsonl")
	for name, text := range map[string]string{
		path: doctorConfig,
		calls: `{"key":"post","method":"POST","path":"/a"}` + "\n" + `{"key":"get","path":"/b"}` + "\n" +
			`{"key":"again","method":"POST","path":"/c","idempotent":true}` + "\n" + `{"key":"marked","method":"POST","path":"/d"}` + "\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	callq := func(status int, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		env := func(name string) string { return map[string]string{"CALLQ_REDIS": server.URL}[name] }
		if got := run(t.Context(), append(args, "--config", path), nil, &out, io.Discard, env); got != status {
			t.Errorf("callq %s ended with %d, want %d:\n%s", strings.Join(args, " "), got, status, &out)
		}
		return out.String()
	}
	callq(exitOK, "send", calls, "--batch", "b")
	says(t, callq(exitOK, "doctor"), "ok       fence ")

	// Two marks are missing of a life that began long ago; one was given back.
	rdb, fence := server.Client, "callq:{sim}:fence"
	for _, key := range rdb.Keys(t.Context(), "callq:{sim}:c:*").Val() {
		if strings.Contains(rdb.HGet(t.Context(), key, "content").Val(), `"/d"`) {
			rdb.HSet(t.Context(), key, "sent", 1, "mark", "m")
		}
	}
	rdb.HSet(t.Context(), fence, "base", 2, "n", 2, "top", 5, "g:w", 1, "since", 1000, "shut", rdb.Time(t.Context()).Val().UnixMilli())
	rdb.HDel(t.Context(), fence, "open")
	out := callq(exitFailed, "doctor")
	says(t, out, "finding  fence        queue sim: Redis has gone back in time, and the records of 2 sent calls are lost")
	says(t, out, "Next: list the calls that may have been sent, and let them start: callq doctor --accept-restore")

	var report struct {
		MayHaveBeenSent []maybeSent `json:"may_have_been_sent"`
	}
	if err := json.Unmarshal([]byte(callq(exitOK, "doctor", "--accept-restore", "--json")), &report); err != nil {
		t.Fatal(err)
	}
	if list := report.MayHaveBeenSent; len(list) != 1 || list[0].Key != "post" || list[0].Batch != "b" || list[0].Method != "POST" || list[0].Path != "/a" || list[0].ID == "" {
		t.Errorf("listed %+v, want the call that must not be sent twice and has no mark", list)
	}
	says(t, callq(exitOK, "doctor"), "ok       fence ")

	// A restore that no worker has noticed: none has run since Redis was started.
	server.Restart()
	says(t, callq(exitOK, "doctor"), "note     fence        Redis was restarted after the last send of")
	says(t, callq(exitOK, "doctor", "--accept-restore"), "among them 1 call that may have been sent before")
	says(t, callq(exitOK, "doctor"), "ok       fence ")
}
