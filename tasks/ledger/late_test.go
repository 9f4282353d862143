package ledger

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// A Redis that stood still, or a wire that was slow, carries out what its worker
// has given up long ago.
func TestAMarkThatComesAfterItsCallWasPutBackLeavesNone(t *testing.T) {
	for name, putBack := range map[string]func(*fixture, *Delivery) (int, bool, error){
		"parked": func(d *fixture, c *Delivery) (int, bool, error) {
			c.Parked++
			return d.dispatcher.Park(d.Context(), c, nil)
		},
		"retried": func(d *fixture, c *Delivery) (int, bool, error) {
			return d.dispatcher.Attempt(d.Context(), c, &Attempt{N: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				c := d.acceptAndTake("b", "q", "k")
				if _, applied, err := putBack(d, c); err != nil || !applied {
					t.Fatalf("put back: %t, %v", applied, err)
				}
				if _, applied, err := d.dispatcher.MarkSent(t.Context(), c, 1, true, ""); err != nil || applied {
					t.Errorf("the late mark: mine %t, %v; want that the call is not this worker's any more", applied, err)
				}
				if r := d.record("q", c.ID); r.Sent != 0 {
					t.Errorf("the call that waits is marked as sent in attempt %d", r.Sent)
				}
				if name == "retried" {
					return
				}
				// The next worker marks it as ever.
				next := d.take("q")
				if _, applied, err := d.dispatcher.MarkSent(t.Context(), next, 1, true, ""); err != nil || !applied {
					t.Errorf("the next worker's mark: mine %t, %v", applied, err)
				}
			})
		})
	}
}
