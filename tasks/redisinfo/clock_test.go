package redisinfo_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

func TestTheSkewIsTheDifferenceBeyondTheRoundTrip(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 5, 4, 12, 0, s, 0, time.UTC) }
	for _, c := range []struct {
		name          string
		theirs        int
		before, after int
		want          time.Duration
	}{
		{"the clocks agree", 10, 10, 10, 0},
		{"Redis answered during the round trip", 12, 10, 15, 0},
		{"this clock is ahead", 3, 10, 11, 7 * time.Second},
		{"this clock is behind", 30, 10, 12, -18 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := redisinfo.SkewOf(at(c.theirs), at(c.before), at(c.after)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestAMachineAgreesWithItsOwnRedis(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		got, err := redisinfo.Skew(t.Context(), client)
		if err != nil || got.Abs() > redisinfo.MaxSkew {
			t.Errorf("got a difference of %s, %v", got, err)
		}
	})
}
