package yamlfile

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/goccy/go-yaml/ast"
)

// JSON returns the value as JSON. Numbers stay as they are written, so that no digit is
// lost. Anchors, aliases and tags within the value are mistakes.
func (v Value) JSON() ([]byte, bool) {
	before := len(v.file.errs)
	var w bytes.Buffer
	v.json(&w, v.resolve())
	return w.Bytes(), len(v.file.errs) == before
}

func (v Value) json(w *bytes.Buffer, n ast.Node) {
	switch n := n.(type) {
	case *ast.MappingNode:
		w.WriteByte('{')
		for i, pair := range n.Values {
			if i > 0 {
				w.WriteByte(',')
			}
			quote(w, pair.Key.GetToken().Value)
			w.WriteByte(':')
			v.json(w, pair.Value)
		}
		w.WriteByte('}')
	case *ast.SequenceNode:
		w.WriteByte('[')
		for i, item := range n.Values {
			if i > 0 {
				w.WriteByte(',')
			}
			v.json(w, item)
		}
		w.WriteByte(']')
	case *ast.StringNode:
		quote(w, n.Value)
	case *ast.LiteralNode:
		quote(w, n.Value.Value)
	case *ast.BoolNode:
		w.WriteString(strconv.FormatBool(n.Value))
	case *ast.NullNode:
		w.WriteString("null")
	case *ast.IntegerNode, *ast.FloatNode:
		w.WriteString(n.GetToken().Value)
	default:
		v.file.Failf(v.file.position(n), "%s cannot be written as JSON here; write it as a string", v.name())
	}
}

// quote writes a JSON string.
func quote(w *bytes.Buffer, s string) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always has a JSON form, and the buffer never fails
	w.Truncate(w.Len() - 1)
}
