package redisinfo

import (
	"strings"
	"testing"
)

func TestFactsAreReadFromINFO(t *testing.T) {
	tests := []struct {
		info   string
		want   Facts
		tooOld bool
	}{
		{"", Facts{}, false},
		{"# Server\r\nredis_version:6.2.7\r\n", Facts{Product: "Redis", Version: "6.2.7", RedisVersion: "6.2.7"}, true},
		{
			"redis_version:7.2.4\r\nvalkey_version:8.0.1\r\nmaxmemory:5\r\nmaxmemory_policy:volatile-lru\r\naof_enabled:1\r\n",
			Facts{Product: "Valkey", Version: "8.0.1", RedisVersion: "7.2.4", MaxMemory: 5, EvictionPolicy: "volatile-lru", AppendOnly: true},
			false,
		},
		{"redis_version:unknown\n", Facts{Product: "Redis", Version: "unknown", RedisVersion: "unknown"}, false},
	}
	for _, tt := range tests {
		got := parseInfo(tt.info)
		if got != tt.want || got.TooOld() != tt.tooOld {
			t.Errorf("%q: got %+v, too old %v", tt.info, got, got.TooOld())
		}
	}
	e := Facts{Product: "Redis", Version: "6.2.7"}.TooOldError("redis://h:1/0")
	if !strings.Contains(e.Error(), "6.2.7") || !strings.Contains(e.Error(), "Valkey 7.2") {
		t.Errorf("got %v", e)
	}
}
