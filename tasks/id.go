package tasks

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/textproto"
	"slices"
	"strings"
)

// TaskID returns the id of the call with this key in this batch: 32 hex digits, the
// same for ever, so that sending a file twice does not make a call twice.
func TaskID(batch, key string) string {
	h := partsHash{buf: make([]byte, 0, 256)}
	h.text("callq task 1")
	h.text(batch)
	h.text(key)
	return h.sum()
}

// ContentHash returns 32 hex digits that identify what a call asks for: upstream,
// method, path, the merged query, headers, content type, body bytes, and whether it was
// declared idempotent. Formatting does not count (white space in JSON, the case of
// method and header names, a parameter in Path or in Query). Key, batch, priority and
// times do not count either, since they change when a request is made and not which.
//
// It is used for two decisions. A batch that gets a key again treats the call as a
// duplicate if the hash is the same and refuses it otherwise. And it is the digest in a
// results file: a run that resumes skips a key whose digest is there, and makes a call
// again that was changed under the same key. A call that [Rules.Check] would refuse has
// a hash too, without a use.
func ContentHash(c Call) string {
	method := canonicalMethod(c.Method)
	path, err := c.URLPath()
	if err != nil {
		path = c.Path
	}
	query, err := c.URLQuery()
	if err != nil {
		query = ""
	}
	c.Method = method
	body, contentType, err := c.RequestBody()
	if err != nil {
		body = c.Body
	}
	h := partsHash{buf: make([]byte, 0, 512+len(body))}
	h.text("callq call 1")
	h.text(c.Upstream)
	h.text(method)
	h.text(path)
	h.text(query)
	h.headers(c.Headers)
	h.text(contentType)
	h.flag(body != nil, true)
	h.bytes(body)
	h.flag(c.Idempotent != nil, c.Idempotent != nil && *c.Idempotent)
	return h.sum()
}

// partsHash hashes parts, each preceded by its length, so that ("ab", "c") and ("a",
// "bc") differ.
type partsHash struct{ buf []byte }

func (h *partsHash) text(s string) {
	h.buf = binary.AppendUvarint(h.buf, uint64(len(s)))
	h.buf = append(h.buf, s...)
}

func (h *partsHash) bytes(b []byte) {
	h.buf = binary.AppendUvarint(h.buf, uint64(len(b)))
	h.buf = append(h.buf, b...)
}

func (h *partsHash) flag(set, value bool) {
	switch {
	case !set:
		h.buf = append(h.buf, '-')
	case value:
		h.buf = append(h.buf, '1')
	default:
		h.buf = append(h.buf, '0')
	}
}

// headers leaves Content-Type out: the content type is a part of its own, whatever set
// it.
func (h *partsHash) headers(headers map[string]string) {
	type header struct{ name, value string }
	var few [8]header
	list := few[:0]
	for name, value := range headers {
		if name = textproto.CanonicalMIMEHeaderKey(name); name != "Content-Type" {
			list = append(list, header{name, trimHeader(value)})
		}
	}
	slices.SortFunc(list, func(a, b header) int {
		if a.name != b.name {
			return strings.Compare(a.name, b.name)
		}
		return strings.Compare(a.value, b.value)
	})
	h.buf = binary.AppendUvarint(h.buf, uint64(len(list)))
	for _, one := range list {
		h.text(one.name)
		h.text(one.value)
	}
}

func (h *partsHash) sum() string {
	sum := sha256.Sum256(h.buf)
	return hex.EncodeToString(sum[:16])
}
