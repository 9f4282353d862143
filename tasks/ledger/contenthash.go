package ledger

import (
	"encoding/base64"
	"encoding/hex"
)

// hashSize is how many bytes a content's hash has. It is 32 hexadecimal digits everywhere but
// in Redis, which stores it twice a call, as 22 characters of base64url. Earlier versions of
// callq stored the digits.
const hashSize = 16

const storedHashSize = (hashSize*8 + 5) / 6

// storedHash returns a hash as Redis stores it. A text that is not 32 lower-case hexadecimal
// digits, such as adopted, is stored as it is.
func storedHash(hash string) string {
	var sum [hashSize]byte
	if len(hash) != hex.EncodedLen(hashSize) {
		return hash
	}
	if _, err := hex.Decode(sum[:], []byte(hash)); err != nil || hex.EncodeToString(sum[:]) != hash {
		return hash
	}
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// hashFrom returns the hash that this or an earlier version stored.
func hashFrom(stored string) string {
	var sum [hashSize]byte
	if len(stored) != storedHashSize {
		return stored
	}
	// The decoder leaves line breaks out.
	if n, err := base64.RawURLEncoding.Strict().Decode(sum[:], []byte(stored)); err != nil || n != hashSize {
		return stored
	}
	return hex.EncodeToString(sum[:])
}
