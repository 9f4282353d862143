package ledger

import "hash/maphash"

// recentKeys is how many keys a [recent] remembers at least.
const recentKeys = 1 << 16

// recent finds the keys that a scan of a hash returns more than once, with memory that
// does not grow with the hash. Redis repeats keys only if the hash shrinks during the
// scan: buckets are merged then, some of which were returned before. It scans the buckets
// in the order of their reversed bits, in which buckets that are merged are next to each
// other (dictScan in its dict.c). So a repeated key was returned a short time ago.
type recent struct {
	seed       maphash.Seed
	young, old map[uint64]struct{}
}

func newRecent() *recent {
	return &recent{seed: maphash.MakeSeed(), young: map[uint64]struct{}{}}
}

// repeated reports whether the key was among the latest, and adds it to them.
func (r *recent) repeated(key string) bool {
	sum := maphash.String(r.seed, key)
	_, young := r.young[sum]
	_, old := r.old[sum]
	if young || old {
		return true
	}
	if len(r.young) == recentKeys {
		r.old, r.young = r.young, make(map[uint64]struct{}, recentKeys)
	}
	r.young[sum] = struct{}{}
	return false
}
