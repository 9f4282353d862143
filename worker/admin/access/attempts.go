package access

import (
	"crypto/sha256"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// wrongBurst is how many wrong tokens an address may send at once, and wrongEvery is
	// the time after which it may send one more.
	wrongBurst = 10
	wrongEvery = 6 * time.Second
	// rightFor is for how long a right token is let through after too many wrong ones came
	// from its address.
	rightFor = time.Hour
	// maxAddresses bounds the memory for addresses.
	maxAddresses = 4096
)

// attempts counts the wrong tokens of each address.
type attempts struct {
	log     *slog.Logger
	logging *rate.Limiter

	mu sync.Mutex
	by map[netip.Prefix]*address
	// unlogged is how many wrong tokens were not logged.
	unlogged int
}

// address is what is known of one address.
type address struct {
	mu    sync.Mutex
	wrong *rate.Limiter
	// right has when tokens were right the last time, by their sums.
	right map[[sha256.Size]byte]time.Time
	// used is guarded by the mu of attempts.
	used time.Time
}

func newAttempts(log *slog.Logger) *attempts {
	return &attempts{log: log, logging: rate.NewLimiter(rate.Every(10*time.Second), 10), by: map[netip.Prefix]*address{}}
}

// try runs compare, which reports whether the token with the sum is right, unless too many
// wrong ones came from the address. wait is then the time until the next try. A token that
// was right lately is compared nevertheless, so that a wrong script does not lock out the
// others.
func (a *attempts) try(from netip.Prefix, sum [sha256.Size]byte, now time.Time, compare func() bool) (ok bool, wait time.Duration) {
	one := a.of(from, now)
	// Tries of one address come one after the other, so that many at once are not more
	// than one after the other.
	one.mu.Lock()
	defer one.mu.Unlock()
	at, known := one.right[sum]
	known = known && now.Sub(at) < rightFor
	if left := one.wrong.TokensAt(now); left < 1 && !known {
		return false, max(time.Duration((1-left)*float64(wrongEvery)).Round(time.Second), time.Second)
	}
	if compare() {
		one.right[sum] = now
		return true, 0
	}
	delete(one.right, sum)
	one.wrong.AllowN(now, 1)
	a.note(from, now)
	return false, 0
}

// of returns an address.
func (a *attempts) of(from netip.Prefix, now time.Time) *address {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.by[from]
	if one == nil {
		if len(a.by) >= maxAddresses {
			a.forget(now)
		}
		one = &address{wrong: rate.NewLimiter(rate.Every(wrongEvery), wrongBurst), right: map[[sha256.Size]byte]time.Time{}}
		a.by[from] = one
	}
	one.used = now
	return one
}

// forget makes room: it forgets the addresses that were not used for an hour, or else the
// one that was not used for the longest time.
func (a *attempts) forget(now time.Time) {
	var oldest netip.Prefix
	for from, one := range a.by {
		if now.Sub(one.used) >= rightFor {
			delete(a.by, from)
		} else if first := a.by[oldest]; first == nil || one.used.Before(first.used) {
			oldest = from
		}
	}
	if len(a.by) >= maxAddresses {
		delete(a.by, oldest)
	}
}

// note logs a wrong token, at most one every ten seconds.
func (a *attempts) note(from netip.Prefix, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.logging.AllowN(now, 1) {
		a.unlogged++
		return
	}
	where := from.String()
	if from.IsSingleIP() {
		where = from.Addr().String()
	}
	a.log.Warn("a request to the admin address has a wrong token", "address", where, "others_not_logged", a.unlogged)
	a.unlogged = 0
}
