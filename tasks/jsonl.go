package tasks

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"unicode/utf8"
)

// ReadOptions are the options of [ReadCalls]. The zero value checks against the zero
// [Rules].
type ReadOptions struct {
	Rules Rules
	// AllowBatch accepts the field "batch" in a line. Otherwise it is refused, since a
	// file's calls belong to the batch that the file is sent as.
	AllowBatch bool
	// MaxLine is the longest line in bytes; a longer one is refused without being held
	// in memory. 0: three times the largest body of the rules and 128 KiB, since JSON
	// may write three bytes of text as nine ("\u5c02").
	MaxLine int
}

// Line is a call and its place in the file.
type Line struct {
	Number int // from 1; blank lines count
	Call   Call
	// ByContent reports that the line has no key: the call's key is its [ContentKey].
	ByContent bool
	// Repeats is the number of the earlier line without a key that this one is equal
	// to: the two are one call. 0: none.
	Repeats int
}

// ReadCalls reads calls, one JSON object a line, parsed and checked. A bad line is
// yielded as a [*FieldError] with its number, and the next line follows. Any other
// error comes from r, and is the last element. Blank lines are skipped; a byte order
// mark, CRLF and a last line without a line end are accepted. A call without a key gets
// its [ContentKey], so that it is the same call at any place in the file. Memory is
// bounded by the longest allowed line and about 30 bytes for each line without a key.
// The sequence can be ranged over once.
func ReadCalls(r io.Reader, opts ReadOptions) iter.Seq2[Line, error] {
	limit := opts.MaxLine
	if limit <= 0 {
		limit = opts.Rules.MaxLine()
	}
	return func(yield func(Line, error) bool) {
		lines := newLineReader(r, limit)
		seen := contents{}
		for {
			text, err := lines.next()
			if errors.Is(err, io.EOF) {
				return
			}
			line := Line{Number: lines.number}
			var tooLong *FieldError
			if err != nil && !errors.As(err, &tooLong) {
				yield(line, fmt.Errorf("read calls after line %d: %w", lines.number, err))
				return
			}
			if err == nil {
				if text = trimJSONSpace(text); len(text) == 0 {
					continue
				}
				line, err = opts.readLine(text, lines.number)
				if err == nil && line.ByContent {
					err = seen.note(&line)
				}
				if bad := (*FieldError)(nil); lines.number == 1 && errors.As(err, &bad) && looksLikeCSV(text) {
					bad.Problem += "; the file looks like CSV, which is not read"
				}
			}
			if !yield(line, err) {
				return
			}
		}
	}
}

func (o ReadOptions) readLine(text []byte, number int) (Line, error) {
	line := Line{Number: number}
	c, err := ParseCall(text)
	if err == nil && c.Batch != "" && !o.AllowBatch {
		err = &FieldError{Field: "batch", Problem: "is not for files", Fix: "a file is sent as one batch, with --batch NAME"}
	}
	if err == nil {
		var hash string
		line.Call, hash, err = o.Rules.checkLine(c)
		line.ByContent = hash != ""
	}
	if bad := (*FieldError)(nil); errors.As(err, &bad) {
		bad.Line = number
	}
	return line, err
}

// MaxLine is the longest line in bytes that [ReadCalls] reads under these rules.
func (r Rules) MaxLine() int {
	most := r.MaxBody
	if most == 0 {
		most = DefaultMaxBody
	}
	for _, one := range r.Upstreams {
		most = max(most, one.MaxBody)
	}
	return int(3*most) + 128<<10
}

// lineReader splits a stream into lines. After next has returned a line or a
// FieldError, number is its number, start the offset of its first byte, and whole
// reports whether it had a line end.
type lineReader struct {
	in     *bufio.Reader
	long   []byte // a line that is longer than the buffer of in
	limit  int
	number int
	start  int64
	end    int64
	whole  bool
}

func newLineReader(r io.Reader, limit int) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(r, 64<<10), limit: limit}
}

// next returns a line without its LF, valid until the next call; io.EOF after the last;
// a FieldError for a line that is too long.
func (l *lineReader) next() ([]byte, error) {
	l.start, l.whole, l.long = l.end, false, l.long[:0]
	size := 0
	for {
		part, err := l.in.ReadSlice('\n')
		l.end += int64(len(part))
		size += len(part)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && (!errors.Is(err, io.EOF) || size == 0) {
			return nil, err
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			if size <= l.limit {
				l.long = append(l.long, part...)
			}
			continue
		}
		l.number++
		l.whole = err == nil
		if l.whole {
			part = part[:len(part)-1]
			size--
		}
		if size > l.limit {
			return nil, &FieldError{
				Line: l.number, Problem: fmt.Sprintf("has %d bytes", size), Fix: fmt.Sprintf("a line may have at most %d", l.limit),
			}
		}
		if len(l.long) > 0 {
			part = append(l.long, part...)
			l.long = part
		}
		if l.number == 1 {
			part = bytes.TrimPrefix(part, []byte("\xef\xbb\xbf"))
		}
		return part, nil
	}
}

// trimJSONSpace trims the four bytes that are white space in JSON (RFC 8259, 2), CR
// among them.
func trimJSONSpace(b []byte) []byte { return bytes.Trim(b, " \t\r\n") }

// checkJSON returns why b, trimmed, is not one JSON object in UTF-8; nil if it is.
func checkJSON(b []byte) *FieldError {
	switch {
	case !utf8.Valid(b):
		at := 0
		for at < len(b) {
			r, size := utf8.DecodeRune(b[at:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			at += size
		}
		return &FieldError{Problem: fmt.Sprintf("is not valid UTF-8 at byte %d", at+1), Fix: "save the file as UTF-8"}
	case !json.Valid(b):
		return badJSON(b)
	case b[0] != '{':
		return &FieldError{Problem: "is " + jsonKind(b) + ", not an object", Fix: `write a call as {"path":"/…"}, one a line`}
	}
	return nil
}

func badJSON(b []byte) *FieldError {
	var first json.RawMessage
	decoder := json.NewDecoder(bytes.NewReader(b))
	err := decoder.Decode(&first)
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return &FieldError{
			Problem: fmt.Sprintf("has more text after its JSON object, at byte %d", decoder.InputOffset()+1),
			Fix:     "write one call a line",
		}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return &FieldError{Problem: "ends before its JSON object is complete", Fix: "write each whole call on one line"}
	case errors.As(err, &syntax):
		at := min(max(int(syntax.Offset), 1), len(b))
		stands, _ := utf8.DecodeRune(b[at-1:])
		return &FieldError{Problem: fmt.Sprintf("is not JSON: unexpected %q at byte %d", stands, at), Fix: oneObject}
	default:
		return &FieldError{Problem: "is not JSON: " + err.Error(), Fix: oneObject}
	}
}

// oneObject is the fix for a line that is not a call at all.
const oneObject = `write one JSON object a line, as {"path":"/…"}`

// looksLikeCSV reports whether a file that begins with this line, which is not JSON, is
// a table with commas.
func looksLikeCSV(line []byte) bool {
	return line[0] != '{' && line[0] != '[' && bytes.IndexByte(line, ',') >= 0 && !json.Valid(line)
}

func jsonKind(value []byte) string {
	switch value[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a bool"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

func isNumber(s string) bool {
	return s != "" && (s[0] == '-' || '0' <= s[0] && s[0] <= '9') && s[len(s)-1] > ' ' && json.Valid([]byte(s))
}

// jsonWalk steps through the members of an object or the elements of an array without
// building them. The bytes must be valid JSON and begin with the bracket. encoding/json
// does not report duplicates, and loses digits or order when it builds values.
type jsonWalk struct {
	data []byte
	at   int
}

func walkJSON(data []byte) jsonWalk { return jsonWalk{data: data, at: 1} }

// next returns the raw name (quoted; nil in an array) and the raw value.
func (w *jsonWalk) next() (name, value []byte, more bool) {
	w.skip(',')
	if b := w.data[w.at]; b == '}' || b == ']' {
		return nil, nil, false
	}
	if w.data[0] == '{' {
		name = w.value()
		w.skip(':')
	}
	return name, w.value(), true
}

func (w *jsonWalk) skip(mark byte) {
	for {
		switch w.data[w.at] {
		case ' ', '\t', '\r', '\n', mark:
			w.at++
		default:
			return
		}
	}
}

func (w *jsonWalk) value() []byte {
	start, depth := w.at, 0
	for {
		switch w.data[w.at] {
		case '"':
			w.at = stringEnd(w.data, w.at)
		case '{', '[':
			depth++
			w.at++
			continue
		case '}', ']':
			depth--
			w.at++
		case ' ', '\t', '\r', '\n', ',', ':':
			w.at++
			continue
		default:
			for w.at < len(w.data) && !endsScalar(w.data[w.at]) {
				w.at++
			}
		}
		if depth == 0 {
			return w.data[start:w.at]
		}
	}
}

func endsScalar(b byte) bool {
	switch b {
	case ' ', '\t', '\r', '\n', ',', ']', '}':
		return true
	}
	return false
}

// stringEnd returns the index after the string that begins at i.
func stringEnd(data []byte, i int) int {
	for i++; data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i + 1
}

var errHalfPair = errors.New(`has half a surrogate pair, such as "\ud83d" alone, which is not a character`)

// unquote decodes a valid JSON string. It fails where encoding/json would insert U+FFFD
// without an error.
func unquote(raw []byte) (string, error) {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), nil
	}
	for i := 0; i < len(inner); i++ {
		if inner[i] != '\\' {
			continue
		}
		if i++; inner[i] != 'u' {
			continue
		}
		unit := hexUnit(inner[i+1:])
		i += 4
		if unit < 0xd800 || unit > 0xdfff {
			continue
		}
		rest := inner[i+1:]
		if unit > 0xdbff || len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' || hexUnit(rest[2:])>>10 != 0xdc00>>10 {
			return "", errHalfPair
		}
		i += 6
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err
}

// hexUnit is the UTF-16 code unit of four hexadecimal digits.
func hexUnit(digits []byte) int {
	unit, _ := strconv.ParseUint(string(digits[:4]), 16, 16) // the JSON is valid
	return int(unit)
}
