package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

// callsFile is a file with n GETs, in a folder of its own.
type callsFile struct {
	dir, path, results string
	lines              [][]byte
}

func writeCalls(n int) (*callsFile, error) {
	dir, err := os.MkdirTemp("", "callq-bench")
	if err != nil {
		return nil, err
	}
	f := &callsFile{dir: dir, path: filepath.Join(dir, "calls.jsonl"), results: filepath.Join(dir, "results.jsonl")}
	var text bytes.Buffer
	for i := range n {
		fmt.Fprintf(&text, `{"key":"row-%d","path":"/patent/%d/claims","query":{"q":"solar cell"}}`+"\n", i+1, i+1)
	}
	f.lines = bytes.Split(bytes.TrimSpace(text.Bytes()), []byte("\n"))
	if err := os.WriteFile(f.path, text.Bytes(), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return f, nil
}

// remove removes the folder. It returns an error unless there are n results.
func (f *callsFile) remove(n int) error {
	text, err := os.ReadFile(f.results)
	if got := bytes.Count(text, []byte(`"US11234567B2"`)); err == nil && got != n {
		err = fmt.Errorf("%d of %d results are in the file", got, n)
	}
	return errors.Join(err, os.RemoveAll(f.dir))
}

// callqRun is what callq run does after it has read its flags and its configuration.
func callqRun(name, url string) contender {
	return contender{name: name, callq: true, prepare: func(ctx context.Context, s *server, n int) (*work, error) {
		preset, err := policy.Preset("http")
		if err != nil {
			return nil, err
		}
		calls, err := writeCalls(n)
		if err != nil {
			return nil, err
		}
		return &work{
			run: func() (err error) {
				in, err := filerun.OpenFile(calls.path)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, in.Close()) }()
				sum, err := filerun.Run(ctx, filerun.Config{
					In: in, Out: calls.results,
					Worker: worker.Config{
						Redis: s.client, Concurrency: places, Logger: slog.New(slog.DiscardHandler),
						Upstreams: []worker.Upstream{{Name: upstreamName, BaseURL: url, Policy: preset, Concurrency: places}},
					},
				})
				if err == nil && sum.Done != n {
					err = fmt.Errorf("%d of %d calls are done", sum.Done, n)
				}
				return err
			},
			end: func() error { return calls.remove(n) },
		}, nil
	}}
}

// asynqProgram does with asynq what callq run does when nothing goes wrong: it enqueues
// the calls of a file, makes them at the same time, and writes a line for each answer.
type asynqProgram struct {
	servers asynqServers
	calls   *callsFile
	url     string
	client  *http.Client
	all     *counter

	mu  sync.Mutex
	out *bufio.Writer
	err error
}

func asynqHTTP(name, url string, keep bool) contender {
	return contender{name: name, prepare: func(ctx context.Context, s *server, n int) (*work, error) {
		calls, err := writeCalls(n)
		if err != nil {
			return nil, err
		}
		p := &asynqProgram{servers: asynqServers{s: s, keep: keep}, calls: calls, url: url, client: newHTTPClient(), all: newCounter(n)}
		return &work{
			run: func() error { return p.run(ctx, n) },
			end: func() error {
				p.client.CloseIdleConnections()
				return errors.Join(p.servers.stop(n), calls.remove(n))
			},
		}, nil
	}}
}

// newHTTPClient returns a client with the settings of callq's own.
func newHTTPClient() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Client{Timeout: worker.DefaultTimeout, Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConns:           places,
		MaxIdleConnsPerHost:    places,
		MaxConnsPerHost:        places,
		IdleConnTimeout:        50 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		DisableCompression:     true,
		Protocols:              protocols,
	}}
}

// ahead is how many tasks are enqueued before the server starts. asynq sleeps when it
// finds its queue empty.
const ahead = 1000

func (p *asynqProgram) run(ctx context.Context, n int) (err error) {
	file, err := os.Create(p.calls.results)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	p.out = bufio.NewWriterSize(file, 64<<10)
	first := newCounter(min(ahead, n))
	sent := make(chan error, 1)
	go func() {
		sent <- enqueue(ctx, p.servers.s, n, func(i int) ([]byte, error) { return p.calls.lines[i], nil }, first.add, p.servers.options()...)
	}()
	select {
	case <-first.done:
	case err := <-sent:
		if err != nil {
			return err
		}
		sent <- nil
	}
	if err := p.servers.start(1, p.handle); err != nil {
		return errors.Join(err, <-sent)
	}
	if err := <-sent; err != nil {
		return err
	}
	select {
	case <-p.all.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := p.servers.recorded(ctx); err != nil {
		return err
	}
	return errors.Join(p.err, p.out.Flush(), file.Sync())
}

// handle makes one call. An error is not retried: it ends the benchmark.
func (p *asynqProgram) handle(ctx context.Context, t *asynq.Task) error {
	defer p.all.add()
	line, body, err := p.call(ctx, t.Payload())
	if err == nil && p.servers.keep {
		_, err = t.ResultWriter().Write(body)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		_, err = p.out.Write(line)
	}
	p.err = errors.Join(p.err, err)
	return nil
}

func (p *asynqProgram) call(ctx context.Context, payload []byte) (line, body []byte, err error) {
	var call struct {
		Key, Path string
		Query     map[string]string
	}
	if err := json.Unmarshal(payload, &call); err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+call.Path, http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	query := req.URL.Query()
	for name, value := range call.Query {
		query.Set(name, value)
	}
	req.URL.RawQuery = query.Encode()
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	body, err = io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("the API answered %s", resp.Status)
	}
	line, err = json.Marshal(struct {
		Key    string          `json:"key"`
		Status int             `json:"http_status"`
		Body   json.RawMessage `json:"body"`
	}{call.Key, resp.StatusCode, body})
	return append(line, '\n'), body, err
}
