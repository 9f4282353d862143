package lab

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// mostRedirects is how many redirects within the API are followed.
const mostRedirects = 5

// api is the simulated API. It answers without sockets; what its script waits is counted.
type api struct {
	sim    *sim
	server *simapi.Server
	slept  time.Duration
}

func newAPI(s *sim) *api {
	a := &api{sim: s}
	a.server = simapi.New(simapi.Config{
		API: s.cfg.API, Script: s.cfg.Script, Seed: s.cfg.Seed, LogCap: 1, Correlation: "sim", HangCap: s.cfg.Timeout + time.Second,
		Now: func() time.Time { return s.now },
		Sleep: func(_ context.Context, d time.Duration) error {
			a.slept += d
			return nil
		},
	})
	return a
}

func (a *api) close() { _ = a.server.Close() }

// answer is what a worker would find, and how long it takes.
func (a *api) answer(c *call) (o policy.Outcome, took time.Duration) {
	a.slept = 0
	path := strings.ReplaceAll(a.sim.cfg.Path, "{n}", strconv.Itoa(c.n))
	r, broken := a.get(path)
	took = a.sim.cfg.Latency + a.slept
	switch {
	case took >= a.sim.cfg.Timeout:
		return policy.Outcome{Transport: policy.TransportTimeoutAfterSend}, a.sim.cfg.Timeout
	case broken:
		return policy.Outcome{Transport: policy.TransportResetAfterSend}, took
	case r == nil:
		return policy.Outcome{Transport: policy.TransportRedirect}, took
	}
	return a.sim.cfg.Policy.ReadAnswer(*r), took
}

// get makes a request and follows redirects; nil: one leaves the API. broken reports that
// the connection was reset.
func (a *api) get(path string) (r *policy.Response, broken bool) {
	for range mostRedirects + 1 {
		r, broken := a.once(path)
		if broken || r.Status < 301 || r.Status > 308 || r.Header.Get("Location") == "" {
			return r, broken
		}
		to, err := url.Parse(r.Header.Get("Location"))
		if err != nil || to.Host != "" {
			return nil, false
		}
		path = to.RequestURI()
	}
	return nil, false
}

func (a *api) once(path string) (r *policy.Response, broken bool) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			r, broken = nil, true
		default:
			panic(v)
		}
	}()
	w := &recorder{header: http.Header{}}
	request, err := http.NewRequest(http.MethodGet, "http://sim.invalid"+path, http.NoBody)
	if err != nil {
		return nil, true
	}
	request.RequestURI = path
	a.server.ServeHTTP(w, request)
	body := w.body.Bytes()
	length, err := strconv.Atoi(w.Header().Get("Content-Length"))
	cut := err == nil && length > len(body)
	if w.Header().Get("Content-Encoding") == "gzip" {
		zip, err := gzip.NewReader(bytes.NewReader(body))
		if err == nil {
			body, err = io.ReadAll(zip)
		}
		cut = cut || err != nil
	}
	return &policy.Response{Status: cmp.Or(w.status, http.StatusOK), Header: w.header, Body: body, Cut: cut}, false
}

// recorder keeps what a handler writes.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = cmp.Or(w.status, status) }
func (w *recorder) Write(p []byte) (int, error) { return w.body.Write(p) }
