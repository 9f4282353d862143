package policy

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// The simulation of "Exponential Backoff And Jitter", AWS Architecture Blog: clients
// contend for one row with optimistic concurrency. Each reads the row's version and then
// writes; the write is refused if another was first, and the client begins again after a
// backoff. A message takes a normal time of 10 ms on average, its deviation is 2 ms.

type contention struct {
	random *rand.Rand
	queue  contentionQueue
	calls  int
}

// contentionEvent is a message that arrives, or a client that begins.
type contentionEvent struct {
	at      float64 // ms
	do      func(at float64)
	ordinal int
}

type contentionQueue []contentionEvent

func (q contentionQueue) Len() int { return len(q) }
func (q contentionQueue) Less(a, b int) bool {
	return q[a].at < q[b].at || q[a].at == q[b].at && q[a].ordinal < q[b].ordinal
}
func (q contentionQueue) Swap(a, b int) { q[a], q[b] = q[b], q[a] }
func (q *contentionQueue) Push(v any)   { *q = append(*q, v.(contentionEvent)) }
func (q *contentionQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

func (c *contention) after(at, wait float64, do func(at float64)) {
	heap.Push(&c.queue, contentionEvent{at + wait, do, c.calls*1000 + len(c.queue)})
}

// message is how long a message takes.
func (c *contention) message() float64 { return math.Abs(10 + 2*c.random.NormFloat64()) }

// contend returns how many writes the clients need until each has written.
func contend(clients int, seed uint64, wait func(random *rand.Rand) func(retries int) time.Duration) int {
	c := &contention{random: rand.New(rand.NewPCG(seed, 1))}
	version := 0
	for range clients {
		backoff := wait(c.random)
		var begin func(at float64, retries int)
		begin = func(at float64, retries int) {
			c.after(at, c.message(), func(at float64) { // the read arrives
				read := version
				c.after(at, c.message()+c.message(), func(at float64) { // its answer, then the write
					c.calls++
					if read == version {
						version++
						return
					}
					c.after(at, c.message(), func(at float64) {
						begin(at+float64(backoff(retries))/float64(time.Millisecond), retries+1)
					})
				})
			})
		}
		begin(0, 0)
	}
	for c.queue.Len() > 0 {
		next := heap.Pop(&c.queue).(contentionEvent)
		next.do(next.at)
	}
	return c.calls
}

func TestTheWaitsReproduceTheTableOfAWS(t *testing.T) {
	b := Backoff{Base: 5 * time.Millisecond, Cap: 2 * time.Second}
	delay := func(jitter func(random *rand.Rand) func(n int64) int64) func(random *rand.Rand) func(int) time.Duration {
		return func(random *rand.Rand) func(int) time.Duration {
			var drawn func(n int64) int64
			if jitter != nil {
				drawn = jitter(random)
			}
			return func(retries int) time.Duration { return b.Delay(retries+1, drawn) }
		}
	}
	for _, row := range []struct {
		name string
		want float64
		wait func(random *rand.Rand) func(int) time.Duration
	}{
		{"none", 2418, func(*rand.Rand) func(int) time.Duration {
			return func(retries int) time.Duration { return Backoff{}.Delay(retries, nil) }
		}},
		{"exponential without jitter", 1848, delay(nil)},
		{"equal", 809, delay(func(random *rand.Rand) func(n int64) int64 {
			return func(n int64) int64 { return n/2 + random.Int64N(n-n/2) }
		})},
		{"full", 799, delay(func(random *rand.Rand) func(n int64) int64 { return random.Int64N })},
	} {
		const runs = 100
		total := 0
		for seed := range uint64(runs) {
			total += contend(100, seed, row.wait)
		}
		got := float64(total) / runs
		t.Logf("%s: %.0f", row.name, got)
		if math.Abs(got-row.want) > row.want*0.05 {
			t.Errorf("%s: %.0f calls, want %.0f within 5 %%", row.name, got, row.want)
		}
	}
}
