package main

import "testing"

func TestSuggestedCommandsUseTheSameQueue(t *testing.T) {
	for _, c := range []struct{ config, redis, want string }{
		{"", "", "callq dead groups"},
		{"other.yaml", "", "callq dead groups --config other.yaml"},
		{"my files/c.yaml", "redis://127.0.0.1:6379/1", "callq dead groups --config 'my files/c.yaml' --redis redis://127.0.0.1:6379/1"},
		{"", "redis://:secret@127.0.0.1:6379", "callq dead groups --redis URL"},
	} {
		a := &app{configPath: c.config, redis: c.redis}
		if got := a.next("dead groups"); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}
