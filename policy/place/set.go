package place

import (
	"unsafe"

	"github.com/theory/jsonpath"
	"github.com/tidwall/gjson"
)

// Set is the places of a policy that lie in the body, compiled: one pass over a body
// finds the values of all of them. A Set never changes and may be used by any number of
// goroutines. The zero value and nil have no places.
type Set struct {
	root *name
	// texts are the places of the text of a body that is not JSON.
	texts []Place
}

// name is one step of the names that paths begin with.
type name struct {
	next map[string]*name
	// here are the places of this step's value itself, and rests those that go on from it.
	here  []string
	rests []rest
}

type rest struct {
	text string
	path *jsonpath.Path
}

// NewSet returns the set of those places that lie in the body. A place may occur twice.
func NewSet(places []Place) *Set {
	s := &Set{}
	seen := map[string]bool{}
	for _, p := range places {
		if p.header != "" || p.text == "" || seen[p.key()] {
			continue
		}
		seen[p.key()] = true
		if p.body {
			s.texts = append(s.texts, p)
			continue
		}
		if s.root == nil {
			s.root = &name{}
		}
		at := s.root
		for _, n := range p.names {
			at = at.step(n)
		}
		if p.rest == nil {
			at.here = append(at.here, p.text)
		} else {
			at.rests = append(at.rests, rest{p.text, p.rest})
		}
	}
	return s
}

func (n *name) step(to string) *name {
	if n.next == nil {
		n.next = map[string]*name{}
	}
	if n.next[to] == nil {
		n.next[to] = &name{}
	}
	return n.next[to]
}

// IsEmpty reports whether no place lies in the body.
func (s *Set) IsEmpty() bool { return s == nil || s.root == nil && len(s.texts) == 0 }

// Read finds the values of all places in body, for which [IsJSON] must hold. Of a name
// that occurs twice in an object the last counts. Read is pure and total, and keeps
// nothing of body.
func (s *Set) Read(body []byte) Values {
	if s == nil || s.root == nil || len(body) == 0 {
		return nil
	}
	found := Values{}
	// A view of the body, which may be large; what is kept of it is copied.
	s.root.read(gjson.Parse(unsafe.String(unsafe.SliceData(body), len(body))), maxWhole, found)
	return found
}

// read finds the values below one step. limit is how much of v may be decoded.
func (n *name) read(v gjson.Result, limit int, found Values) {
	for _, text := range n.here {
		if value, ok := leaf(v); ok {
			found.add(text, value)
		}
	}
	if len(n.rests) > 0 && v.Type == gjson.JSON {
		whole := decode(v.Raw, limit)
		for _, r := range n.rests {
			// RFC 9535 leaves the order of an object's members open, and here they are in
			// a Go map: sorted, equal bodies give equal values.
			selected := r.path.SelectLocated(whole)
			selected.Sort()
			for _, one := range selected {
				if value, ok := node(one.Node); ok {
					found.add(r.text, value)
				}
			}
		}
	}
	if len(n.next) == 0 || !v.IsObject() {
		return
	}
	v.ForEach(func(key, value gjson.Result) bool {
		if next := n.next[key.Str]; next != nil {
			next.forget(found)
			next.read(value, maxPart, found)
		}
		return true
	})
}

// forget takes back what an earlier member of the same name gave.
func (n *name) forget(found Values) {
	if len(found) == 0 {
		return
	}
	for _, text := range n.here {
		delete(found, text)
	}
	for _, r := range n.rests {
		delete(found, r.text)
	}
	for _, next := range n.next {
		next.forget(found)
	}
}
