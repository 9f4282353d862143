package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/notify/notifytest"
)

func TestWorkNotifiesAReceiverAndDoctorSaysWhatWaitsForIt(t *testing.T) {
	t.Parallel()
	v, r := newVault(t, ""), notifytest.New(t, notifytest.Secret)
	r.Answer(0)
	h := newHome(t, "")
	h.env = append(h.env, "NOTIFY_URL="+r.URL)
	h.write("secret", notifytest.Secret+"\n")
	h.write("callq.yaml", fmt.Sprintf(`redis: %q
upstreams:
  api: {base_url: %q, policy: http}
admin: {listen: "127.0.0.1:0"}
notify:
  - {name: ops, url: "${env:NOTIFY_URL}", secret: "${file:secret}", events: [batch_ended]}
`, redistest.Redis(t).URL, v.url))
	said, signal, ended := h.start("work")
	await(t, "the worker", func() bool { return strings.Contains(said.String(), "admin=http://") })
	h.callq(exitOK, "send", "GET", "/a", "--batch", "b", "--key", "1", "--wait")
	r.AwaitRefused(1)
	if out, _ := h.callq(exitOK, "doctor"); !strings.Contains(out, "1 event waits for receiver ops") {
		t.Errorf("doctor does not say that an event waits:\n%s", out)
	}
	if out, _ := h.callq(exitOK, "batch", "status", "notify.ops"); !strings.Contains(out, "notify.ops") {
		t.Errorf("the batch of notifications is shown as:\n%s", out)
	}
	r.Answer(204)
	got := r.Await("the event", func(got []notifytest.Delivery) bool { return len(got) == 1 })
	if got[0].Data["batch"] != "b" {
		t.Errorf("got %s", got[0].Body)
	}
	await(t, "doctor to find nothing", func() bool {
		out, _ := h.callq(exitOK, "doctor")
		return strings.Contains(out, "1 receiver of events, nothing waits")
	})
	signal(syscall.SIGTERM)
	if status := ended(); status != exitOK {
		t.Errorf("the worker ended with %d", status)
	}
	for _, text := range []string{"t0p5ecretpath", strings.TrimPrefix(notifytest.Secret, "whsec_")} {
		if strings.Contains(said.String(), text) {
			t.Errorf("the worker wrote %s:\n%s", text, said)
		}
	}
}
