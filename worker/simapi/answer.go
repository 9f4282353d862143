package simapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

const page = "<!DOCTYPE html>\n<html><head><title>Please wait</title></head><body><h1>The service is being maintained.</h1></body></html>\n"

// body is what is sent: head, pad times an x, tail. So a large one takes no memory.
type body struct {
	kind string // Content-Type
	head []byte
	pad  int64
	tail []byte
}

func (b body) size() int64 {
	return int64(len(b.head)) + b.pad + int64(len(b.tail))
}

var padding = bytes.Repeat([]byte("x"), 32<<10)

func (b body) writeTo(w io.Writer) error {
	if _, err := w.Write(b.head); err != nil {
		return err
	}
	for left := b.pad; left > 0; {
		n, err := w.Write(padding[:min(left, int64(len(padding)))])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	_, err := w.Write(b.tail)
	return err
}

// error writes an error envelope. Without a code the field is left out.
func (e Envelope) error(code, message string) []byte {
	return append(e.head(false, code, message), '}')
}

// ok writes a success up to and including `"data":`; the data and a closing brace follow.
func (e Envelope) ok() []byte {
	return append(e.head(true, "0", ""), `,"data":`...)
}

func (e Envelope) head(status bool, code, message string) []byte {
	flag := strconv.FormatBool(status)
	if e.Status == StatusString {
		flag = `"` + flag + `"`
	}
	out := append([]byte(`{"status":`), flag...)
	if code != "" {
		switch e.Code {
		case CodeFloat:
			code += ".0"
		case CodeString:
			code = `"` + code + `"`
		}
		out = append(append(out, `,"error_code":`...), code...)
	}
	out = append(append(out, `,"`...), orElse(e.Message, "error_msg")...)
	return append(append(out, `":`...), plainJSON(message)...)
}

// plainJSON marshals without escaping <, > and &, as most APIs do.
func plainJSON(v any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return []byte("null")
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// bodyOf builds what an answer sends; echo is the data of a success.
func (a answer) bodyOf(e Envelope, echo []byte) body {
	const jsonType = "application/json"
	switch a.kind {
	case kindCode:
		return body{kind: jsonType, head: e.error(a.code, orElse(a.message, messageOf(a.code)))}
	case kindNoCode:
		return body{kind: jsonType, head: e.error("", orElse(a.message, "Something went wrong!"))}
	case kindHTTP:
		if a.hasText {
			return textBody(a.text)
		}
		return body{kind: "text/plain; charset=utf-8", head: fmt.Appendf(nil, "%d %s\n", a.status, http.StatusText(a.status))}
	case kindHTML:
		return body{kind: "text/html; charset=utf-8", head: []byte(page)}
	case kindMalformed:
		return body{kind: jsonType, head: e.ok()}
	case kindBody:
		return body{kind: jsonType, head: []byte(a.text)}
	case kindEmpty, kindRedirect:
		return body{}
	case kindBig:
		b := body{kind: jsonType, head: append(e.ok(), '"'), tail: []byte(`"}`)}
		b.pad = max(0, a.size-b.size())
		return b
	}
	return body{kind: jsonType, head: append(append(e.ok(), echo...), '}')}
}

// textBody is the body of http:STATUS body=TEXT.
func textBody(text string) body {
	switch {
	case text == "":
		return body{}
	case json.Valid([]byte(text)):
		return body{kind: "application/json", head: []byte(text)}
	default:
		return body{kind: "text/plain; charset=utf-8", head: []byte(text)}
	}
}

// send writes an answer that is an HTTP message. Errors in writing are the client's leaving, and no concern of ours.
func (a answer) send(w http.ResponseWriter, now time.Time, b body) {
	h := w.Header()
	for _, kv := range a.header {
		h.Add(kv[0], kv[1])
	}
	if a.retry.date {
		h.Set("Retry-After", now.Add(a.retry.wait).UTC().Format(http.TimeFormat))
	} else if a.retry.set {
		h.Set("Retry-After", seconds(a.retry.wait))
	}
	if a.location != "" {
		h.Set("Location", a.location)
	}
	if b.kind != "" && h.Get("Content-Type") == "" {
		h.Set("Content-Type", b.kind)
	}
	status := a.httpStatus()
	if status == http.StatusNoContent || status == http.StatusNotModified {
		w.WriteHeader(status)
		return
	}
	if a.gzip {
		h.Set("Content-Encoding", "gzip")
		if b.pad > 0 {
			w.WriteHeader(status)
			zip := gzip.NewWriter(w)
			if b.writeTo(zip) == nil {
				_ = zip.Close()
			}
			return
		}
		b = body{head: compressed(b)}
	}
	h.Set("Content-Length", strconv.FormatInt(b.size(), 10))
	if a.kind == kindCut {
		b.head = b.head[:len(b.head)/2]
	}
	w.WriteHeader(status)
	_ = b.writeTo(w)
}

func compressed(b body) []byte {
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	_ = b.writeTo(zip) // a bytes.Buffer takes everything
	_ = zip.Close()
	return buf.Bytes()
}

func (a answer) httpStatus() int {
	switch {
	case a.status != 0:
		return a.status
	case a.kind == kindRedirect:
		return http.StatusFound
	}
	return http.StatusOK
}

// reset breaks the connection with a TCP RST, also under TLS. Where there is no connection of its own to break (HTTP/2,
// httptest.ResponseRecorder) it panics with http.ErrAbortHandler, which net/http takes as an order to break off.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	// A TLS connection that is closed properly says goodbye first.
	if wrapped, is := conn.(interface{ NetConn() net.Conn }); is {
		conn = wrapped.NetConn()
	}
	if tcp, is := conn.(*net.TCPConn); is {
		_ = tcp.SetLinger(0) // fails only on a connection that is gone already
	}
	_ = conn.Close()
}
