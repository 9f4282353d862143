package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/jsonform"
)

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
}

// results reads the results of a batch, and checks each line.
func (s *server) results(path string, changes ...request) (keys []string, cursor string) {
	s.t.Helper()
	got := s.ask("GET", path, "", changes...)
	s.want(got, http.StatusOK, "")
	if got.header.Get("Content-Type") != "application/x-ndjson" {
		s.t.Errorf("the type is %s", got.header.Get("Content-Type"))
	}
	for line := range strings.Lines(got.body) {
		s.checkObject("Result", line)
		var r struct{ Key, Cursor string }
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Cursor == "" {
			s.t.Fatalf("the line %s: %v", line, err)
		}
		keys, cursor = append(keys, r.Key), r.Cursor
	}
	return keys, cursor
}

func TestResultsAreLinesOfAResultsFile(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := serve(t, rdb)
		s.batch("a b/c", 4)
		for _, state := range []ledger.State{ledger.Done, ledger.Dead, ledger.Dropped, ledger.Done} {
			s.end(state)
		}
		path := "/v1/batches/a%20b%2Fc/results"
		if keys, _ := s.results(path); !slices.Equal(keys, []string{"0", "1", "2", "3"}) {
			t.Errorf("got %v", keys)
		}
		n := 0
		for r, err := range tasks.ReadResults(strings.NewReader(s.ask("GET", path, "").body)) {
			if err != nil || string(r.Body) != `{"key":"`+r.Key+`"}` || r.Batch != "a b/c" {
				t.Errorf("got %+v, %v", r, err)
			}
			n++
		}
		if n != 4 {
			t.Errorf("a reader of results files found %d results", n)
		}
		if keys, _ := s.results(path + "?state=dead,dropped"); !slices.Equal(keys, []string{"1", "2"}) {
			t.Errorf("dead and dropped: got %v", keys)
		}
	})
}

func TestResultsContinueAfterACursor(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := serve(t, rdb)
		s.batch("b", 6)
		for range 3 {
			s.end(ledger.Done)
		}
		const path = "/v1/batches/b/results"
		keys, cursor := s.results(path)
		if !slices.Equal(keys, []string{"0", "1", "2"}) {
			t.Errorf("got %v", keys)
		}
		if none, _ := s.results(path + "?after=" + url.QueryEscape(cursor)); len(none) != 0 {
			t.Errorf("nothing has ended, but got %v", none)
		}
		s.end(ledger.Done)
		s.end(ledger.Dead)
		if keys, _ := s.results(path, header("Last-Event-ID", cursor)); !slices.Equal(keys, []string{"3", "4"}) {
			t.Errorf("by header: got %v", keys)
		}
		keys, last := s.results(path + "?after=" + url.QueryEscape(cursor))
		if !slices.Equal(keys, []string{"3", "4"}) {
			t.Errorf("by parameter: got %v", keys)
		}
		// The header is newer than the address.
		if keys, _ := s.results(path+"?after="+url.QueryEscape(cursor), header("Last-Event-ID", last)); len(keys) != 0 {
			t.Errorf("by both: got %v", keys)
		}
		// A call that was redriven and has ended again comes again.
		s.want(s.ask("POST", "/v1/dead/redrive", `{"ids":["`+tasks.TaskID("b", "4")+`"]}`), 200, `"redriven":1`)
		s.end(ledger.Done) // key 5
		s.end(ledger.Done)
		if keys, _ := s.results(path, header("Last-Event-ID", last)); !slices.Equal(keys, []string{"5", "4"}) {
			t.Errorf("after a redrive: got %v", keys)
		}
	})
}

// breaking makes Redis fail after some commands of a name.
type breaking struct {
	name  string
	after int64
	seen  atomic.Int64
}

func (*breaking) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *breaking) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (b *breaking) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == b.name && b.seen.Add(1) > b.after {
			return errors.New("connection reset by peer")
		}
		return next(ctx, cmd)
	}
}

func TestResultsThatBreakOffDoNotLookComplete(t *testing.T) {
	rdb := redistest.Redis(t).Client
	s := serve(t, rdb)
	s.batch("b", 510) // more than a page
	for range 510 {
		s.end(ledger.Done)
	}
	rdb.AddHook(&breaking{name: "zrangebyscore", after: 1})
	r, err := http.Get(s.url + "/v1/batches/b/results")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if _, err := io.ReadAll(r.Body); err == nil {
		t.Error("the body ends as if all results had come")
	}
}

// event is a server-sent event.
type event struct{ name, id, data string }

// events reads a stream of events until it ends, or until stop.
func readEvents(t *testing.T, body io.Reader, each func(event) (more bool)) {
	t.Helper()
	var e event
	in := bufio.NewScanner(body)
	for in.Scan() {
		field, value, _ := strings.Cut(in.Text(), ": ")
		switch field {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			e.data = value
		case "":
			if e.name != "" && !each(e) {
				return
			}
			e = event{}
		}
	}
}

func TestEventsFollowABatchToItsEndAndContinueAfterAnID(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := serve(t, rdb)
		s.batch("b", 4)
		s.end(ledger.Done)
		var got []string
		last := ""
		follow := func(each func(event) bool) {
			r, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/v1/batches/b/events", nil)
			if err != nil {
				t.Fatal(err)
			}
			if last != "" {
				r.Header.Set("Last-Event-ID", last)
			}
			w, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Body.Close()
			if w.StatusCode != http.StatusOK || w.Header.Get("Content-Type") != "text/event-stream" {
				t.Fatalf("got %d %v", w.StatusCode, w.Header)
			}
			readEvents(t, w.Body, func(e event) bool {
				if e.id != "" {
					last = e.id
				}
				switch e.name {
				case "ending":
					s.checkObject("Result", e.data)
					var r struct{ Key string }
					_ = json.Unmarshal([]byte(e.data), &r)
					got = append(got, r.Key)
				default:
					s.checkObject("Batch", e.data)
				}
				return each(e)
			})
		}
		// The connection breaks off after the first ending, and one call ends meanwhile.
		follow(func(e event) bool { return e.name != "ending" })
		s.end(ledger.Dead)
		ended := false
		follow(func(e event) bool {
			switch {
			case e.name == "ending" && len(got) == 2:
				s.end(ledger.Done)
				s.end(ledger.Dropped)
			case e.name == "end":
				ended = true
				var counts jsonform.Batch
				if err := json.Unmarshal([]byte(e.data), &counts); err != nil || counts.Done != 2 || counts.Dead != 1 || counts.Dropped != 1 || counts.Open != 0 {
					t.Errorf("the last counts are %s, %v", e.data, err)
				}
			}
			return true
		})
		if !ended || !slices.Equal(got, []string{"0", "1", "2", "3"}) {
			t.Errorf("got the endings %v, an end: %v", got, ended)
		}
		// A browser connects again; this stops it.
		s.want(s.ask("GET", "/v1/batches/b/events", "", header("Last-Event-ID", last)), http.StatusNoContent, "")
		whole := s.ask("GET", "/v1/batches/b/events", "")
		s.want(whole, http.StatusOK, "event: progress\ndata: {\"batch\":\"b\"")
		if strings.Count(whole.body, "event: ending\n") != 4 {
			t.Errorf("from the beginning: got %s", whole.body)
		}
	})
}

// A server's times for whole requests are seconds here; streams last longer.
func TestAStreamOutlivesTheServersTimes(t *testing.T) {
	t.Parallel()
	rdb, _ := redistest.Mini(t)
	s := serve(t, rdb)
	s.batch("b", 1)
	w, err := http.Get(s.url + "/v1/batches/b/events")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	ended := make(chan struct{})
	time.AfterFunc(3*time.Second, func() {
		defer close(ended)
		s.end(ledger.Done)
	})
	last := ""
	readEvents(t, w.Body, func(e event) bool { last = e.name; return true })
	<-ended // the event comes before the last command of s.end has returned
	if last != "end" {
		t.Errorf("the last event is %q, want end", last)
	}
}

func TestAServerThatStopsEndsItsStreams(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	s := serve(t, rdb)
	s.batch("b", 1)
	w, err := http.Get(s.url + "/v1/batches/b/events")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	readEvents(t, w.Body, func(event) bool {
		s.cfg.Streams.Stop()
		return true
	}) // it would not end otherwise
}

func TestTooManyStreamsAreAProblem(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	s := serve(t, rdb)
	s.batch("b", 1)
	var open []*http.Response
	for range 64 {
		w, err := http.Get(s.url + "/v1/batches/b/events") //nolint:bodyclose // it stays open
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, w) //nolint:bodyclose // closed below
	}
	got := s.ask("GET", "/v1/batches/b/results", "")
	s.want(got, http.StatusServiceUnavailable, "too many streams are open on this server")
	if got.header.Get("Retry-After") != "5" {
		t.Errorf("Retry-After is %q", got.header.Get("Retry-After"))
	}
	s.want(s.ask("GET", "/v1/batches/b", ""), http.StatusOK, "") // other requests go on
	for _, w := range open {
		w.Body.Close()
	}
	eventually(t, "a stream to end", func() bool { return s.ask("GET", "/v1/batches/b/results", "").status == http.StatusOK })
}

func TestAClientThatTakesNoResultsIsDropped(t *testing.T) {
	t.Parallel()
	rdb := redistest.Redis(t).Client
	cfg := configOf(t, rdb)
	cfg.Streams.SetIdle(200 * time.Millisecond)
	s := serveConfig(t, cfg)
	s.batch("b", 200)
	large := strings.Repeat("x", 100<<10) // more together than the connection holds
	for i := range 200 {
		s.end(ledger.Done)
		id := tasks.TaskID("b", fmt.Sprint(i))
		if err := rdb.HSet(t.Context(), "callq:{sim}:c:"+id, "body", large, "type", "text/plain").Err(); err != nil {
			t.Fatal(err)
		}
	}
	w, err := http.Get(s.url + "/v1/batches/b/results")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	eventually(t, "the end of the stream", func() bool { return cfg.Streams.Open() == 0 })
	if _, err := io.ReadAll(w.Body); err == nil {
		t.Error("the results look complete")
	}
}

func TestHeadOfAStreamHasNoBody(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	s := serve(t, rdb)
	s.batch("b", 1)
	for _, path := range []string{"results", "events"} {
		w, err := http.Head(s.url + "/v1/batches/b/" + path)
		if err != nil {
			t.Fatal(err)
		}
		w.Body.Close()
		if w.StatusCode != http.StatusOK {
			t.Errorf("%s: got %d", path, w.StatusCode)
		}
	}
}
