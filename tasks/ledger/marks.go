package ledger

import (
	"crypto/rand"
	"slices"
	"sort"
	"sync"
	"time"
)

const (
	// maxMarks is how many marks a process remembers, of all queues together, at about
	// 130 bytes each. Older ones cannot be given back.
	maxMarks = 1 << 16
	// maxDoubts is the same for requests without an answer, of each queue.
	maxDoubts = 1000
	// certainAfter is the time after which a kill of Redis does not undo what it has
	// answered, however slow its disk is: with an append-only file it delays a write by
	// 2 s at most.
	certainAfter = 4 * time.Second
	// doubtFor is for how long after its last answer Redis may have carried out
	// requests that it did not answer.
	doubtFor = time.Second
)

// madeMark is a mark that this process has made.
type madeMark struct {
	number     int64
	id, token  string
	generation int
	attempt    int
	// sent reports that the call may have been sent, and that it is not known to be
	// safe to send again.
	sent bool
}

// marks are the marks that this process has made and may have to give back, and the
// queues' fences as it has last seen them. They are safe for concurrent use.
type marks struct {
	// name identifies this process among those that work on the same queues.
	name string
	// asking has room for one goroutine, which asks about fences and gives marks back.
	asking chan struct{}

	mu     sync.Mutex
	queues map[string]*queueMarks
	// order has the queue of each mark, the oldest first, beginning at head.
	order []*queueMarks
	head  int
}

// queueMarks are the marks of one queue and its fence as last seen. marks.mu guards
// them.
type queueMarks struct {
	// life is the one in which this process makes marks: all its earlier marks were
	// given back to it. Empty before the first one.
	life string
	// seen is the highest number of a mark that is certain to survive a kill of Redis.
	seen int64
	// later becomes seen when laterAt is long enough ago.
	later   int64
	laterAt time.Time
	// answered is when Redis last answered.
	answered time.Time
	made     []madeMark // by number
	// high is the highest number of a mark in Redis's answers.
	high int64
	// doubts are marks that Redis may have made although its answer did not arrive, so
	// that their calls were not sent: for each a number below that of the mark.
	doubts []int64
	// changes counts the changes of made and doubts; given is its value when they were
	// last given back.
	changes, given int
	// top is the fence's top at that time.
	top int64
	// shut is until when no mark is made, as far as this process has seen; closed
	// reports that a person, or another worker, has to open the fence.
	shut   time.Time
	closed bool
}

func newMarks() *marks {
	return &marks{name: rand.Text(), asking: make(chan struct{}, 1), queues: map[string]*queueMarks{}}
}

// of returns the queueMarks of a queue. It must be called with m.mu held.
func (m *marks) of(queue string) *queueMarks {
	q := m.queues[queue]
	if q == nil {
		q = &queueMarks{}
		m.queues[queue] = q
	}
	return q
}

// knownFence is what a process has seen of a fence when it asks for a mark.
type knownFence struct {
	// life is the one in which it makes marks; seen and high are as in [queueMarks].
	life       string
	seen, high int64
	// asked is now, answered is when Redis last answered.
	asked, answered time.Time
}

func (m *marks) known(queue string) knownFence {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.of(queue)
	return knownFence{q.life, q.seen, q.high, time.Now(), q.answered}
}

// remember adds a mark that was made in a life, before its call is sent. It returns
// false if another life has begun since: then Redis may have lost the mark, and it was
// not given back.
func (m *marks) remember(queue, life string, mark madeMark) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.of(queue)
	if q.life != life {
		return false
	}
	q.answered, q.high = time.Now(), max(q.high, mark.number)
	q.changes++
	at, known := q.find(mark.number)
	if known {
		q.made[at] = mark
		return true
	}
	q.made = slices.Insert(q.made, at, mark) // replies can arrive in another order
	m.order = append(m.order, q)
	if len(m.order)-m.head > maxMarks {
		m.forgetOldest()
	}
	return true
}

func (m *marks) forgetOldest() {
	oldest := m.order[m.head]
	m.order[m.head] = nil
	if m.head++; m.head > maxMarks {
		m.order, m.head = slices.Clone(m.order[m.head:]), 0
	}
	if len(oldest.made) > 0 {
		oldest.made[0] = madeMark{}
		oldest.made = oldest.made[1:]
	}
}

// find returns the index at which the mark of a number is, or would be.
func (q *queueMarks) find(number int64) (at int, known bool) {
	at = sort.Search(len(q.made), func(i int) bool { return q.made[i].number >= number })
	return at, at < len(q.made) && q.made[at].number == number
}

// send records that the call of a mark is sent now; the mark survives a kill of Redis.
// It returns false if another life has begun since the mark was made.
func (m *marks) send(queue, life string, number int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.of(queue)
	if q.life != life {
		return false
	}
	q.seen = max(q.seen, number)
	if at, known := q.find(number); known {
		q.made[at].sent = true
		q.changes++
	}
	return true
}

// unsend records that the call of a mark may be sent again, as far as this process can
// tell.
func (m *marks) unsend(queue string, number int64) {
	if number == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.of(queue)
	if at, known := q.find(number); known {
		q.made[at] = madeMark{number: number}
	}
}

// doubt records a request for a mark that was not answered with a number.
func (m *marks) doubt(queue string, k knownFence) {
	if k.life == "" || k.asked.After(k.answered.Add(doubtFor)) {
		return // Redis was not reachable before
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.of(queue)
	q.changes++
	q.doubts = append(q.doubts, k.high)
	if len(q.doubts) > maxDoubts {
		q.doubts = slices.Clone(q.doubts[1:])
	}
}

// missing returns the marks to be written to a life that began at base. accounted is
// how many numbers above base, and up to top, are those of this process; changes is to
// be passed to enter.
func (m *marks) missing(queue string, base, top int64) (list []madeMark, accounted, changes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.of(queue)
	for _, mark := range q.made {
		if mark.number > base {
			accounted++
		}
		if mark.sent {
			list = append(list, mark) // whatever its number: giveback.lua leaves existing marks alone
		}
	}
	return list, accounted + q.doubtful(base, top), q.changes
}

// doubtful is how many numbers above base, and up to top, can be those of marks without
// an answer.
func (q *queueMarks) doubtful(base, top int64) int {
	low, n := top, 0
	for _, high := range q.doubts {
		if high = max(high, base); high < top {
			low, n = min(low, high), n+1
		}
	}
	from, _ := q.find(low + 1)
	to, _ := q.find(top + 1)
	return min(n, int(top-low)-(to-from))
}

// enter makes a life the one in which marks are made, unless marks or doubts have
// changed since they were given back. Numbers above top will be used again.
func (m *marks) enter(queue, life string, top int64, changes int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.of(queue)
	if q.changes != changes {
		return false
	}
	q.life, q.laterAt, q.given, q.top = life, time.Time{}, changes, top
	for n := len(q.made); n > 0 && q.made[n-1].number > top && !q.made[n-1].sent; n-- {
		q.made = q.made[:n-1]
	}
	return true
}

// learn updates what is known of a fence.
func (m *marks) learn(queue string, s FenceState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q, now := m.of(queue), time.Now()
	q.answered, q.high = now, max(q.high, s.Made)
	if q.life == s.Life {
		if !q.laterAt.IsZero() && now.Sub(q.laterAt) >= certainAfter {
			q.seen, q.laterAt = max(q.seen, q.later), time.Time{}
		}
		if q.laterAt.IsZero() {
			q.later, q.laterAt = s.Made, now
		}
	}
	q.closed, q.shut = s.Closed, time.Time{}
	if s.Closed || s.Wait > 0 {
		q.shut = now.Add(max(s.Wait, fenceRetry))
	}
}

// stale reports whether there is something to give back that came after the last time.
func (m *marks) stale(queue string, top int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.of(queue)
	return q.changes != q.given || q.top != top
}

// seenQueues returns the queues whose fence this process has seen: it has to ask about
// these.
func (m *marks) seenQueues() (queues []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for queue, q := range m.queues {
		if q.life != "" || !q.shut.IsZero() {
			queues = append(queues, queue)
		}
	}
	return queues
}
