package wiretest

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/seed-2903acc3/callq/worker/simapi"
)

// proxy is a way to the rig's Redis that can be spoilt for all requests alike. It
// ends with its test.
func (r *rig) proxy() *toxiproxy.Proxy {
	r.t.Helper()
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "redis", "127.0.0.1:0", r.redis.Addr)
	if err := p.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(p.Stop)
	return p
}

// by is the Dialer of a client that goes through the proxy.
func by(p *toxiproxy.Proxy) func(ctx context.Context, network, addr string) (net.Conn, error) {
	addr := p.Listen
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
}

func TestNoCallIsLostOrMadeTwiceOverAWireThatFailsAtRandom(t *testing.T) {
	t.Parallel()
	for name, toxics := range map[string][]string{
		"every connection is cut after some replies": {
			`{"name": "cut", "type": "limit_data", "stream": "downstream", "attributes": {"bytes": 30000}}`,
		},
		"every connection is cut after some requests": {
			`{"name": "cut", "type": "limit_data", "stream": "upstream", "attributes": {"bytes": 30000}}`,
		},
		"some connections are reset": {
			`{"name": "reset", "type": "reset_peer", "stream": "downstream", "toxicity": 0.4, "attributes": {"timeout": 20}}`,
		},
		"the wire is slow and uneven": {
			`{"name": "late", "type": "latency", "stream": "downstream", "attributes": {"latency": 20, "jitter": 15}}`,
			`{"name": "pieces", "type": "slicer", "stream": "downstream", "attributes": {"average_size": 100, "size_variation": 90, "delay": 100}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const batch, calls = "b", 300
			r := newRig(t, `* /b/*7 -> 68300008; ok latency=5ms forever
shared * * -> ok x90 latency=5ms; 67200001 retry-after=1 latency=5ms; ok latency=5ms forever`)
			p := r.proxy()
			for _, toxic := range toxics {
				if _, err := p.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
					t.Fatal(err)
				}
			}
			client := r.through(by(p))
			r.send(client, batch, calls)
			r.work(client, 8)
			orphans := r.finish(batch, true)
			r.wantAllDoneOnce(batch, calls)
			t.Logf("%d calls waited for the end of their lease", orphans)
		})
	}
}

func TestAWireThatIsDownStopsTheCallsAndLosesNone(t *testing.T) {
	t.Parallel()
	const batch, calls, away = "b", 300, 8 * time.Second
	r := newRig(t, "* * -> ok latency=30ms forever")
	p := r.proxy()
	client := r.through(by(p))
	r.send(client, batch, calls)
	r.work(client, 8)
	if err := r.sim.WaitFor(t.Context(), func(s simapi.Stats) bool { return s.Arrivals >= calls/4 }); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	down := time.Now()
	before := r.said.Lines()
	<-time.After(time.Until(down.Add(away)))
	for _, c := range r.sim.Calls() {
		if c.At.After(down.Add(away / 3)) {
			t.Errorf("%s was begun %s after the wire went down", c.Path, c.At.Sub(down))
		}
	}
	if n := r.said.Lines() - before; n == 0 || n > 3*int(away/time.Second) {
		t.Errorf("the worker wrote %d lines in %s; want some, and no flood", n, away)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	orphans := r.finish(batch, true)
	r.wantAllDoneOnce(batch, calls)
	t.Logf("%d calls waited for the end of their lease", orphans)
}
