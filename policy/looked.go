package policy

import (
	"encoding/base64"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/policy/place"
)

const (
	// markSize is how many characters a mark has.
	markSize = 4
	// maxLooked is how many characters [Kept.Looked] has at most.
	maxLooked = 100 * markSize
)

// The first marks of [Kept.Looked], by their position: how the code, the message and the
// success flag are read. The others are those of places.
const (
	markCode = iota
	markMessage
	markOK
	readMarks
)

// mark stands for a text in [Kept.Looked]. It is a hash: texts are too long to be kept with
// each attempt.
func mark(text string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(text)) // it returns no error
	sum := h.Sum32()
	return base64.RawURLEncoding.EncodeToString([]byte{byte(sum>>24) ^ byte(sum), byte(sum >> 16), byte(sum >> 8)})
}

// setLooked sets what [Policy.Kept] writes about what the policy looks at.
func (p *Policy) setLooked() {
	message := quotedPlaces(p.reading.message)
	if p.searchesSuccesses {
		message += ", in a success too"
	}
	looked := []string{mark(quotedPlaces(p.reading.code)), mark(message), mark(quotedPlaces(p.reading.ok))}
	for _, name := range p.namedHeaders {
		looked = append(looked, mark(headerText(name)))
	}
	for _, at := range p.kept {
		looked = append(looked, mark(at.String()))
	}
	text := strings.Join(looked, "")
	p.looked = text[:min(len(text), maxLooked)]
	p.keepsGood = p.looksAtGoodHeaders()
}

// headerText is a header as a policy file writes its place.
func headerText(name string) string { return "header " + strings.ToLower(name) }

// readsAlike reports whether a policy of which a record has looked reads one of the first
// marks as p does.
func (p *Policy) readsAlike(looked string, which int) bool {
	at := which * markSize
	return len(looked) >= readMarks*markSize && looked[at:at+markSize] == p.looked[at:at+markSize]
}

// readsNoFlag reports whether a policy of which a record has looked reads no success flag.
func readsNoFlag(looked string) bool {
	return len(looked) >= readMarks*markSize && looked[markOK*markSize:readMarks*markSize] == mark(quotedPlaces(nil))
}

// LooksAt reports whether a policy of which a record has looked, see [Kept.Looked], names a
// place, as a policy file writes it: "header x-left", "$.error.code".
func LooksAt(looked, at string) bool {
	if len(looked) < readMarks*markSize {
		return false
	}
	wanted := mark(at)
	for rest := looked[readMarks*markSize:]; len(rest) >= markSize; rest = rest[markSize:] {
		if rest[:markSize] == wanted {
			return true
		}
	}
	return false
}

// looksAtGoodHeaders reports whether a header may decide about a 2xx.
func (p *Policy) looksAtGoodHeaders() bool {
	var read field
	for f, places := range map[field][]place.Place{fieldCode: p.reading.code, fieldMessage: p.reading.message, fieldFlag: p.reading.ok} {
		if slices.ContainsFunc(places, inHeader) {
			read |= f
		}
	}
	return slices.ContainsFunc(p.rules, func(r rule) bool {
		m := &r.match
		if m.fields&fieldHTTP != 0 && !m.http.meets(200, 299) || m.fields&fieldTransport != 0 {
			return false
		}
		return m.fields&(read|fieldHeader|fieldLimitUsedUp) != 0 ||
			slices.ContainsFunc(m.where, func(w whereMatch) bool { return inHeader(w.at) })
	})
}

func inHeader(at place.Place) bool { return at.Header() != "" }
