package ledger

import (
	"encoding/hex"
	"testing"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestAHashIsReadAsItWasGiven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hash := hex.EncodeToString(rapid.SliceOfN(rapid.Byte(), hashSize, hashSize).Draw(t, "hash"))
		stored := storedHash(hash)
		if len(stored) != storedHashSize {
			t.Fatalf("%s is stored as %s", hash, stored)
		}
		if got := hashFrom(stored); got != hash {
			t.Fatalf("%s is read as %s", hash, got)
		}
		if got := hashFrom(hash); got != hash {
			t.Fatalf("%s of an earlier version is read as %s", hash, got)
		}
	})
}

func TestATextThatIsNoHashIsStoredAsItIs(t *testing.T) {
	for _, text := range []string{
		"", adopted, "hash-k", "0123456789ABCDEF0123456789abcdef", "0123456789abcdef0123456789abcdeg",
		"AAAAAAAAAAAAAAAAAAAA\r\n", "AAAAAAAAAAAAAAAAAAAAA\xff", "AAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAAB",
	} {
		if got := hashFrom(storedHash(text)); got != text {
			t.Errorf("%q is read as %q", text, got)
		}
	}
}

func TestAKeyThatAnEarlierVersionClaimedIsTheSameCall(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		entry := entryOf("b", "q", "k")
		entry.Hash = "599609c378d8012c1cc3d99188b79a75"
		d.must(rdb.HSet(t.Context(), claimsKey("b"), "k", entry.Hash+" q:high").Err())
		other := entry
		other.Hash = "da289c39e7a32f49b4c291384f0d1f8a"
		if got := d.send("b", entry, entry, other); got[0] != Accepted || got[1] != Duplicate || got[2] != Conflict {
			t.Errorf("got %v", got)
		}
		if r := d.record("q:high", entry.ID); r.Hash != entry.Hash || r.Key != "k" {
			t.Errorf("got key %s, hash %s", r.Key, r.Hash)
		}
	})
}
