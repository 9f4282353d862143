package ledger

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrCursor reports a text that is not a cursor.
var ErrCursor = errors.New("not a cursor")

// maxCursor is the longest text that is read as a cursor, in bytes.
const maxCursor = 16 << 10

// Cursor is a reader's position in the endings of a batch. The zero value is the
// beginning. It is not safe for concurrent use.
type Cursor struct {
	// last has the score of the last record that was read, by queue.
	last map[string]string
}

// String returns the cursor as text, for [ParseCursor]: empty for the beginning, otherwise
// letters, digits and "._~:%-" only.
func (c *Cursor) String() string {
	var b strings.Builder
	for _, queue := range slices.Sorted(maps.Keys(c.last)) {
		if b.Len() > 0 {
			b.WriteByte('~')
		}
		b.WriteString(queueText(queue) + "." + c.last[queue])
	}
	return b.String()
}

// ParseCursor reads what String has written; otherwise it returns [ErrCursor].
func ParseCursor(text string) (*Cursor, error) {
	c := &Cursor{last: map[string]string{}}
	if text == "" {
		return c, nil
	}
	if len(text) > maxCursor {
		return nil, ErrCursor
	}
	for part := range strings.SplitSeq(text, "~") {
		at := strings.LastIndexByte(part, '.')
		if at < 0 {
			return nil, ErrCursor
		}
		queue, err := url.PathUnescape(part[:at])
		if _, twice := c.last[queue]; err != nil || twice || !isScore(part[at+1:]) {
			return nil, ErrCursor
		}
		c.last[queue] = part[at+1:]
	}
	return c, nil
}

// DeadCursor is a reader's position among the dead letters. The zero value is the
// beginning. It is not safe for concurrent use.
type DeadCursor struct{ queue, score, id string }

// String returns the cursor as text, for [ParseDeadCursor]: empty for the beginning.
func (c DeadCursor) String() string {
	if c.queue == "" {
		return ""
	}
	return fmt.Sprintf("%s~%s~%s", queueText(c.queue), c.score, queueText(c.id))
}

// ParseDeadCursor reads what String has written; otherwise it returns [ErrCursor].
func ParseDeadCursor(text string) (*DeadCursor, error) {
	if text == "" {
		return &DeadCursor{}, nil
	}
	parts := strings.Split(text, "~")
	if len(text) > maxCursor || len(parts) != 3 || parts[0] == "" || parts[1] != "" && !isScore(parts[1]) {
		return nil, ErrCursor
	}
	queue, err := url.PathUnescape(parts[0])
	id, err2 := url.PathUnescape(parts[2])
	if err != nil || err2 != nil {
		return nil, ErrCursor
	}
	return &DeadCursor{queue: queue, score: parts[1], id: id}, nil
}

// queueText returns a name without "~" and without characters that URLs and headers do not
// have.
func queueText(name string) string {
	return strings.NewReplacer("~", "%7E", "+", "%20").Replace(url.QueryEscape(name))
}

// scoreText returns a score of the sorted sets of endings: microseconds.
func scoreText(z redis.Z) string { return strconv.FormatFloat(z.Score, 'f', 0, 64) }

func isScore(text string) bool {
	n, err := strconv.ParseInt(text, 10, 64)
	return err == nil && n >= 0 && strconv.FormatInt(n, 10) == text
}
