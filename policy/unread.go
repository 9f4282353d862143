package policy

import "github.com/seed-2903acc3/callq/internal/plaintext"

// UnreadWait is a source that names a place of the answer, and what the answer has there
// but the source cannot read.
type UnreadWait struct {
	Source Source
	// Value is the answer's text, or the part of it that find selects.
	Value string
	// Format is the declared format that Value does not have; empty: none is declared.
	Format string
	// NoMatch reports that find matches nothing in Value.
	NoMatch bool
}

// Unread returns what the sources of a hold that come before the given one cannot read of
// an answer. The given one set the end of the hold.
func (h Hold) Unread(o Outcome, until Source) []UnreadWait {
	return unread(h.Sources, h.waits, o, until)
}

// Unread returns what the sources of a backoff cannot read of an answer.
func (b Backoff) Unread(o Outcome) []UnreadWait {
	return unread(b.Sources, b.waits, o, "")
}

func unread(sources []Source, waits map[Source]*answerWait, o Outcome, until Source) []UnreadWait {
	var list []UnreadWait
	for _, source := range sources {
		if source == until {
			break
		}
		w := waits[source]
		if w == nil || w.isBucket() {
			continue
		}
		if _, ok := w.wait(&o); ok {
			continue
		}
		for _, text := range w.texts(&o) {
			part, ok := w.part(text)
			if text != "" {
				list = append(list, UnreadWait{Source: source, Value: plaintext.Clean(part, maxMessage), Format: string(w.format), NoMatch: !ok})
				break
			}
		}
	}
	return list
}
