package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

// shownBody is how much of a body a dry run shows, in bytes.
const shownBody = 500

// firstRequest is the first request to an upstream as it would be sent.
type firstRequest struct {
	Upstream string            `json:"upstream"`
	Key      string            `json:"key"`
	Method   string            `json:"method"`
	URL      string            `json:"url"`
	Headers  map[string]string `json:"headers"`
	// Body is the beginning of the body, null if there is none. BodyBytes is the length
	// of the whole body.
	Body      *string `json:"body"`
	BodyBytes int64   `json:"body_bytes"`
}

// describe returns a request as the forecast shows it.
func describe(first filerun.FirstRequest) (*firstRequest, error) {
	req := first.Request
	out := &firstRequest{
		Upstream: first.Upstream, Key: first.Key, Method: req.Method, URL: req.URL.String(), Headers: map[string]string{}, BodyBytes: req.ContentLength,
	}
	for name, values := range req.Header {
		out.Headers[http.CanonicalHeaderKey(name)] = strings.Join(values, ", ")
	}
	if req.ContentLength > 0 {
		head, err := io.ReadAll(io.LimitReader(req.Body, shownBody))
		if err != nil {
			return nil, err
		}
		text := strings.ToValidUTF8(string(head), "�")
		if req.ContentLength > shownBody {
			text += "…"
		}
		out.Body = &text
	}
	return out, nil
}

// print prints the request as it is sent, line by line.
func (r *firstRequest) print(w io.Writer) {
	fmt.Fprintf(w, "\nThe first request to %s (%s):\n  %s %s\n", r.Upstream, console.Printable(r.Key), r.Method, console.Printable(r.URL))
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		fmt.Fprintf(w, "  %s: %s\n", name, console.Printable(r.Headers[name]))
	}
	if r.Body == nil {
		return
	}
	fmt.Fprintf(w, "  Content-Length: %d\n\n", r.BodyBytes)
	for line := range strings.Lines(*r.Body) {
		fmt.Fprintf(w, "  %s\n", console.Printable(strings.TrimRight(line, "\r\n")))
	}
}
