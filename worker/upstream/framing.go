package upstream

import (
	"bytes"
	"strconv"
	"time"
)

// framing follows the bytes of one answer and finds its end, as net/http does
// (RFC 9112, 6.3). It tells the bytes of an answer from bytes that follow it.
// What it cannot follow for certain is opaque: it has no known end, and the
// connection is not used again.
type framing struct {
	// toHead reports that the request's method is HEAD: its answer has no body.
	toHead bool
	step   frameStep
	// line holds the head of the answer, or the present line of a chunked body.
	line []byte
	// left is what is left of the body, or of the present chunk, in bytes.
	left int64

	status int
	// announced reports that an answer that cannot have a body announces one:
	// some servers then send it.
	announced bool
	hasBody   bool
	// keep is what the Keep-Alive header allows; negative if it says nothing.
	keep time.Duration
}

type frameStep int

const (
	inHead frameStep = iota
	inBody
	inChunkSize
	inChunk
	inChunkEnd
	inTrailer
	complete
	opaque
)

// start prepares for the answer to a request.
func (f *framing) start(toHead bool) {
	*f = framing{toHead: toHead, line: f.line[:0], keep: -1}
}

// take follows p and returns how many of its bytes belong to the answer.
func (f *framing) take(p []byte) (used int) {
	for used < len(p) && f.step != complete {
		rest := p[used:]
		switch f.step {
		case inHead:
			used += f.takeHead(rest)
		case inBody, inChunk:
			n := min(int64(len(rest)), f.left)
			used += int(n)
			f.left -= n
			switch {
			case f.left > 0:
			case f.step == inBody:
				f.step = complete
			default:
				f.step = inChunkEnd
			}
		case inChunkSize, inChunkEnd, inTrailer:
			used += f.takeLine(rest)
		default:
			return len(p)
		}
	}
	return used
}

// takeHead collects the head of the answer, and reads it once it is whole.
func (f *framing) takeHead(p []byte) int {
	for i := 0; i < len(p); {
		end := bytes.IndexByte(p[i:], '\n')
		if end < 0 {
			break
		}
		i += end + 1
		before := len(f.line)
		if before+i > maxHeader {
			break
		}
		// An empty line ends the head.
		if tail := lastBytes(f.line, p[:i]); bytes.HasSuffix(tail, []byte("\n\r\n")) || bytes.HasSuffix(tail, []byte("\n\n")) {
			f.line = append(f.line, p[:i]...)
			f.readHead()
			return i
		}
	}
	if len(f.line)+len(p) > maxHeader {
		f.step = opaque
		return len(p)
	}
	f.line = append(f.line, p...)
	return len(p)
}

// lastBytes returns the last three bytes of a and b together.
func lastBytes(a, b []byte) []byte {
	if len(b) >= 3 {
		return b[len(b)-3:]
	}
	var joined []byte
	joined = append(joined, a[max(0, len(a)-3):]...)
	return append(joined, b...)
}

func (f *framing) readHead() {
	first, rest, _ := bytes.Cut(f.line, []byte("\n"))
	f.step = opaque // until it is known better
	if len(first) < len("HTTP/1.1 200") || !bytes.HasPrefix(first, []byte("HTTP/1.")) || first[8] != ' ' {
		return
	}
	status, err := strconv.Atoi(string(first[9:12]))
	if err != nil || status < 100 || status == 101 {
		return
	}
	f.status = status
	length, lengths, encodings, chunked := int64(0), 0, 0, false
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.Trim(value, " \t")
		switch {
		case line[0] == ' ' || line[0] == '\t':
			return // a continued line, which nobody sends any more
		case bytes.EqualFold(name, []byte("content-length")):
			n, err := strconv.ParseUint(string(value), 10, 63)
			if err != nil || lengths > 0 && int64(n) != length {
				return
			}
			length = int64(n)
			lengths++
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			encodings++
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("keep-alive")):
			f.keep = keepAlive(string(value))
		}
	}
	switch {
	case encodings > 1, encodings == 1 && (!chunked || first[7] == '0'):
		return
	case status < 200: // an interim answer: another one follows
		f.line, f.step = f.line[:0], inHead
	case f.toHead, status == 204, status == 304:
		f.announced = encodings > 0 || length > 0
		f.step = complete
	case chunked:
		f.hasBody, f.line, f.step = true, f.line[:0], inChunkSize
	case lengths == 0: // up to the end of the connection
	case length == 0:
		f.step = complete
	default:
		f.hasBody, f.left, f.step = true, length, inBody
	}
}

// maxChunkLine bounds a line of a chunked body, as net/http does.
const maxChunkLine = 4096

// takeLine collects a line of a chunked body, and reads it once it is whole.
func (f *framing) takeLine(p []byte) int {
	n := bytes.IndexByte(p, '\n') + 1
	if n == 0 {
		n = len(p)
	}
	f.line = append(f.line, p[:n]...)
	switch {
	case len(f.line) > maxChunkLine && f.step != inTrailer, len(f.line) > maxHeader:
		f.step = opaque
	case f.line[len(f.line)-1] != '\n':
	case !bytes.HasSuffix(f.line, []byte("\r\n")):
		f.step = opaque
	default:
		f.readLine(f.line[:len(f.line)-2])
		f.line = f.line[:0]
	}
	return n
}

func (f *framing) readLine(line []byte) {
	switch f.step {
	case inChunkSize:
		digits, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimRight(digits, " \t")), 16, 63)
		switch {
		case err != nil:
			f.step = opaque
		case n == 0:
			f.step = inTrailer
		default:
			f.left, f.step = int64(n), inChunk
		}
	case inChunkEnd:
		f.step = inChunkSize
		if len(line) > 0 {
			f.step = opaque
		}
	case inTrailer:
		if len(line) == 0 {
			f.step = complete
		}
	}
}

// keepAlive reads "timeout=5, max=100": how long the server keeps the connection
// after its answer. Negative: it does not say.
func keepAlive(value string) time.Duration {
	keep := time.Duration(-1)
	for part := range bytes.SplitSeq([]byte(value), []byte(",")) {
		name, text, _ := bytes.Cut(bytes.TrimSpace(part), []byte("="))
		n, err := strconv.ParseUint(string(bytes.Trim(text, ` "`)), 10, 31)
		switch {
		case err != nil:
		case bytes.EqualFold(bytes.TrimSpace(name), []byte("timeout")):
			if keep != 0 {
				keep = time.Duration(n) * time.Second
			}
		case bytes.EqualFold(bytes.TrimSpace(name), []byte("max")) && n == 0:
			keep = 0
		}
	}
	return keep
}
