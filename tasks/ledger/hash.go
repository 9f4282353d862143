package ledger

import "github.com/seed-2903acc3/callq/tasks/redislua"

// hash is a record in the form in which scripts return it: its fields and their values, in
// turn. A record has few fields, so that a search takes less than the making of a map.
type hash []string

// get returns the value of a field, or "" if there is none.
func (h hash) get(field string) string {
	value, _ := h.lookup(field)
	return value
}

func (h hash) lookup(field string) (value string, there bool) {
	for i := 0; i+1 < len(h); i += 2 {
		if h[i] == field {
			return h[i+1], true
		}
	}
	return "", false
}

// hashOf returns the reply of HGETALL as a hash.
func hashOf(fields map[string]string) hash {
	h := make(hash, 0, 2*len(fields))
	for field, value := range fields {
		h = append(h, field, value)
	}
	return h
}

// hashIn returns the hash that is part of a script's reply.
func hashIn(reply any) hash {
	list, _ := reply.([]any)
	h := make(hash, len(list))
	for i, text := range list {
		h[i] = redislua.Text(text)
	}
	return h
}
