package upstream

import (
	"hash/maphash"
	"sync"
	"time"
)

// newTokenPause is for how long a token is not replaced again after the API has refused it
// as a new one. After that time the account may have got back what it lacked, and perhaps
// only a token that is issued then has it.
const newTokenPause = time.Minute

// refusedToken remembers the token that the API refused although it had just replaced a
// refused one, and that no call was accepted with: the cause is not that the token is old,
// and one more would not help. The zero value is ready to use. It is safe for concurrent
// use.
type refusedToken struct {
	mu sync.Mutex
	// refused is the generation of the token; 0: none. accepted is the newest generation
	// that the API accepted.
	refused, accepted uint64
	at                time.Time
}

// noteRefused records that the API refused the token of that generation as a new one.
func (n *refusedToken) noteRefused(generation uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if generation > n.accepted {
		n.refused, n.at = generation, time.Now()
	}
}

// noteAccepted records that the API accepted the token.
func (n *refusedToken) noteAccepted(generation uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.accepted = max(n.accepted, generation)
	if n.refused <= n.accepted {
		n.refused = 0
	}
}

// mayReplace reports whether a token that the API has refused is to be replaced.
func (n *refusedToken) mayReplace(generation uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.refused != generation || generation == 0 || time.Since(n.at) >= newTokenPause
}

// clientMark is a hash of the client's id and secret, which has no meaning in another
// process.
func clientMark(id, secret string) uint64 {
	var h maphash.Hash
	h.SetSeed(fingerprintSeed)
	maphash.WriteComparable(&h, [2]string{id, secret})
	return h.Sum64()
}
