package tasks

import (
	"fmt"
	"hash/fnv"
	"strconv"
)

// contentPrefix begins the keys that are made from content.
const contentPrefix = "c-"

// ContentKey returns the key of a line without one: "c-" and the first 16 hexadecimal digits of its [ContentHash]. A line keeps
// it wherever it stands, so that inserting, removing, sorting or splitting lines repeats no call.
func ContentKey(hash string) string { return contentPrefix + hash[:16] }

// checkLine is [Rules.Check] for a call that may have no key. It then gets its [ContentKey], and hash is the [ContentHash] that
// the key is made of; of a call with a key it is empty.
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

// contents are the lines without a key that were read, by the 64 bits that their keys are made of.
type contents map[uint64]contentLine

type contentLine struct {
	number int32
	// meta tells different ones apart; 0 for none.
	meta uint32
}

// note takes a line into account and notes which earlier one it repeats. It refuses a line that is equal to an earlier one but
// for its meta: which of the two is the call's could not be said.
func (s contents) note(line *Line) error {
	n, err := strconv.ParseUint(line.Call.Key[len(contentPrefix):], 16, 64)
	if err != nil {
		return err // hexadecimal digits, always
	}
	this := contentLine{number: int32(min(line.Number, 1<<31-1)), meta: metaSum(line.Call)}
	before, again := s[n]
	switch {
	case !again:
		s[n] = this
	case before.meta != this.meta:
		return &FieldError{
			Line: line.Number, Field: "meta", Problem: fmt.Sprintf("is all that differs from line %d, and both have no key", before.number),
			Fix: "give each a key",
		}
	default:
		line.Repeats = int(before.number)
	}
	return nil
}

// metaSum returns 0 for none.
func metaSum(c Call) uint32 {
	if len(c.Meta) == 0 {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write(compactValid(c.Meta)) // never fails
	return max(h.Sum32(), 1)
}
