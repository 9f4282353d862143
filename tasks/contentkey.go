package tasks

import (
	"fmt"
	"hash/fnv"
	"strconv"
)

// contentPrefix is the prefix of keys that are made from content.
const contentPrefix = "c-"

// ContentKey returns the key of a line without one: "c-" and the first 16 hexadecimal
// digits of its [ContentHash]. A line keeps it at any place in the file, so that
// inserting, removing, sorting or splitting lines repeats no call.
func ContentKey(hash string) string { return contentPrefix + hash[:16] }

// checkLine is [Rules.Check] for a call that may have no key. Such a call gets its
// [ContentKey], and hash is its [ContentHash]; for a call with a key hash is empty.
func (r Rules) checkLine(c Call) (checked Call, hash string, err error) {
	byContent := c.Key == ""
	if byContent {
		c.Key = contentPrefix // until the content is complete and checked
	}
	if checked, err = r.Check(c); err != nil || !byContent {
		return checked, "", err
	}
	hash = ContentHash(checked)
	checked.Key = ContentKey(hash)
	return checked, hash, nil
}

// contents are the lines without a key that were read, by the 64 bits of their keys.
type contents map[uint64]contentLine

type contentLine struct {
	number int32
	// meta is a checksum that distinguishes different metas; 0 for none.
	meta uint32
}

// note adds a line and sets which earlier line it repeats. It refuses a line that
// differs from an earlier one only in its meta: the call could have only one of the
// two.
func (s contents) note(line *Line) error {
	n, err := strconv.ParseUint(line.Call.Key[len(contentPrefix):], 16, 64)
	if err != nil {
		return err // cannot happen: the key has hexadecimal digits
	}
	this := contentLine{number: int32(min(line.Number, 1<<31-1)), meta: metaSum(line.Call)}
	before, again := s[n]
	switch {
	case !again:
		s[n] = this
	case before.meta != this.meta:
		return &FieldError{
			Line: line.Number, Field: "meta", Problem: fmt.Sprintf("is the only difference from line %d, and both lines have no key", before.number),
			Fix: "give each a key",
		}
	default:
		line.Repeats = int(before.number)
	}
	return nil
}

// metaSum returns a checksum of the meta; 0 for none.
func metaSum(c Call) uint32 {
	if len(c.Meta) == 0 {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write(compactValid(c.Meta)) // never fails
	return max(h.Sum32(), 1)
}
