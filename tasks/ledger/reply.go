package ledger

import "fmt"

// Number reads a number in a script's reply: an integer, or a text where it was
// too large for one. Anything else is 0.
func Number(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case string:
		return atoi64(v)
	}
	return 0
}

// Hash reads the reply of HGETALL in a script's reply: fields and values in turn.
func Hash(v any) map[string]string {
	flat, _ := v.([]any)
	h := make(map[string]string, len(flat)/2)
	for i := 0; i+1 < len(flat); i += 2 {
		h[str(flat[i])] = str(flat[i+1])
	}
	return h
}

func str(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int64:
		return fmt.Sprint(v)
	}
	return ""
}
