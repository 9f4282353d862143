package page

import (
	"bytes"
	"net/http"
	"strings"
	"time"
)

const (
	// mostStreams bounds the open streams; above it a page renews itself by loading.
	mostStreams = 128
	// renewEvery is how often a stream looks for changes.
	renewEvery = time.Second
	// aliveEvery is how often a stream sends something if nothing changes.
	aliveEvery = 15 * time.Second
	// streamFor ends a stream: the browser opens it again, and access is checked again.
	streamFor = 10 * time.Minute
	// sendTimeout bounds one event, for a browser that does not read.
	sendTimeout = 10 * time.Second
)

// wantsStream reports whether a request is for the changes of a page.
func wantsStream(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Accept"), "text/event-stream")
}

// stream sends the page's main part whenever it changes, as server-sent events.
func (p *Pages) stream(w http.ResponseWriter, r *http.Request, name string, load loader) {
	select {
	case p.streams <- struct{}{}:
		defer func() { <-p.streams }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no") // nginx must not collect the events
	control := http.NewResponseController(w)
	// The server's time to read a request must not end the stream.
	_ = control.SetReadDeadline(time.Time{})
	send := func(event []byte) bool {
		_ = control.SetWriteDeadline(time.Now().Add(sendTimeout)) // not all writers have one
		_, err := w.Write(event)
		return err == nil && control.Flush() == nil
	}
	if !send([]byte("retry: 2000\n\n")) {
		return
	}
	tick, end := time.NewTicker(renewEvery), time.NewTimer(streamFor)
	defer tick.Stop()
	defer end.Stop()
	var last []byte
	sent := time.Now()
	for {
		html, err := p.render(r, name, load)
		switch {
		case r.Context().Err() != nil || p.ctx.Err() != nil:
			return
		case err != nil:
			_, shown := p.explain(r, err)
			html = []byte(shown.What)
			if !bytes.Equal(html, last) && !send(eventOf("trouble", html)) {
				return
			}
			last, sent = html, time.Now()
		default:
			if html = mainOf(html); !bytes.Equal(contentOf(html), last) {
				if !send(eventOf("main", html)) {
					return
				}
				last, sent = contentOf(html), time.Now()
			}
		}
		if time.Since(sent) >= aliveEvery {
			if !send([]byte(": nothing changed\n\n")) {
				return
			}
			sent = time.Now()
		}
		select {
		case <-tick.C:
		case <-end.C:
			return
		case <-r.Context().Done():
			return
		case <-p.ctx.Done():
			return
		}
	}
}

// mainOf returns the main element of a page.
func mainOf(html []byte) []byte {
	from, to := bytes.Index(html, []byte("<main")), bytes.LastIndex(html, []byte("</main>"))
	if from < 0 || to < from {
		return html
	}
	return html[from : to+len("</main>")]
}

// contentOf returns what an element contains: its tag has the time.
func contentOf(html []byte) []byte {
	_, content, _ := bytes.Cut(html, []byte(">"))
	return content
}

// eventOf returns a server-sent event with text of several lines.
func eventOf(name string, text []byte) []byte {
	var b bytes.Buffer
	b.WriteString("event: " + name + "\n")
	for line := range bytes.Lines(text) {
		b.WriteString("data: ")
		b.Write(bytes.TrimRight(line, "\r\n"))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.Bytes()
}
