package main

import (
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

func TestItIsSaidWhyNoCallEnds(t *testing.T) {
	for want, e := range map[string]filerun.Stalled{
		"api: 1 attempt has failed since a call has ended, the last with transient: connection refused; the calls are tried again": {
			Upstream: "api", Attempts: 1, Class: policy.ClassTransient, Message: "connection refused",
		},
		"api: 2 attempts have failed since a call has ended, the last with unknown 4711; the calls are tried again": {
			Upstream: "api", Attempts: 2, Class: policy.ClassUnknown, Code: "4711",
		},
	} {
		if got := stalledLine(e); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
}
