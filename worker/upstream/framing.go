package upstream

import (
	"bytes"
	"strconv"
	"time"
)

// framing parses the bytes of one answer and finds its end, as net/http does
// (RFC 9112, 6.3). It distinguishes the bytes of the answer from bytes after it. If it
// cannot parse the answer with certainty, the step is endUnknown, and the connection is
// not used again.
type framing struct {
	// toHead reports that the method of the request is HEAD: its answer has no body.
	toHead bool
	step   frameStep
	// line holds the head of the answer, or the current line of a chunked body.
	line []byte
	// left is the number of bytes left of the body or of the current chunk.
	left int64

	status int
	// bodyAnnounced reports that an answer that must not have a body announces one.
	// Some servers then send it.
	bodyAnnounced bool
	hasBody       bool
	// keep is the timeout of the Keep-Alive header; negative if there is none.
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
	endUnknown
)

// start resets f for the answer to a new request.
func (f *framing) start(toHead bool) {
	*f = framing{toHead: toHead, line: f.line[:0], keep: -1}
}

// consume parses p and returns how many of its bytes belong to the answer.
func (f *framing) consume(p []byte) (used int) {
	for used < len(p) && f.step != complete {
		rest := p[used:]
		switch f.step {
		case inHead:
			used += f.consumeHead(rest)
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
			used += f.consumeLine(rest)
		default:
			return len(p)
		}
	}
	return used
}

// consumeHead collects the head of the answer, and parses it when it is complete.
func (f *framing) consumeHead(p []byte) int {
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
		f.step = endUnknown
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
	f.step = endUnknown // unless the head is valid
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
			return // a folded header line, which is obsolete (RFC 9112, 5.2)
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
		f.bodyAnnounced = encodings > 0 || length > 0
		f.step = complete
	case chunked:
		f.hasBody, f.line, f.step = true, f.line[:0], inChunkSize
	case lengths == 0: // the body ends with the connection
	case length == 0:
		f.step = complete
	default:
		f.hasBody, f.left, f.step = true, length, inBody
	}
}

// maxChunkLine limits a line of a chunked body in bytes, as net/http does.
const maxChunkLine = 4096

// consumeLine collects a line of a chunked body, and parses it when it is complete.
func (f *framing) consumeLine(p []byte) int {
	n := bytes.IndexByte(p, '\n') + 1
	if n == 0 {
		n = len(p)
	}
	f.line = append(f.line, p[:n]...)
	switch {
	case len(f.line) > maxChunkLine && f.step != inTrailer, len(f.line) > maxHeader:
		f.step = endUnknown
	case f.line[len(f.line)-1] != '\n':
	case !bytes.HasSuffix(f.line, []byte("\r\n")):
		f.step = endUnknown
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
			f.step = endUnknown
		case n == 0:
			f.step = inTrailer
		default:
			f.left, f.step = int64(n), inChunk
		}
	case inChunkEnd:
		f.step = inChunkSize
		if len(line) > 0 {
			f.step = endUnknown
		}
	case inTrailer:
		if len(line) == 0 {
			f.step = complete
		}
	}
}

// keepAlive parses a header such as "timeout=5, max=100". It returns how long the server
// keeps the connection open after its answer; negative if the header does not say.
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
