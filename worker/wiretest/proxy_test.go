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

// proxy starts a proxy to the rig's Redis, whose faults affect all requests alike. It ends
// with its test.
func (r *rig) proxy() *toxiproxy.Proxy {
	r.t.Helper()
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "redis", "127.0.0.1:0", r.redis.Addr)
	if err := p.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(p.Stop)
	return p
}

// dialerOf returns the Dialer of a client that connects through the proxy.
func dialerOf(p *toxiproxy.Proxy) func(ctx context.Context, network, addr string) (net.Conn, error) {
	addr := p.Listen
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
}

func TestNoCallIsLostOrMadeTwiceWhenConnectionsFailAtRandom(t *testing.T) {
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
		"the network is slow and replies arrive in pieces": {
			`{"name": "slow", "type": "latency", "stream": "downstream", "attributes": {"latency": 20, "jitter": 15}}`,
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
			client := r.client(dialerOf(p))
			r.send(client, batch, calls)
			r.work(client, 8)
			orphans := r.finish(batch, true)
			r.wantAllDoneOnce(batch, calls)
			t.Logf("%d calls were orphaned", orphans)
		})
	}
}

func TestNoCallStartsOrIsLostWhileTheNetworkIsDown(t *testing.T) {
	t.Parallel()
	const batch, calls, outage = "b", 300, 8 * time.Second
	r := newRig(t, "* * -> ok latency=30ms forever")
	p := r.proxy()
	client := r.client(dialerOf(p))
	r.send(client, batch, calls)
	r.work(client, 8)
	if err := r.sim.WaitFor(t.Context(), func(s simapi.Stats) bool { return s.Arrivals >= calls/4 }); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	down := time.Now()
	before := r.log.Lines()
	<-time.After(time.Until(down.Add(outage)))
	for _, c := range r.sim.Calls() {
		if c.At.After(down.Add(outage / 3)) {
			t.Errorf("%s started %s after the network went down", c.Path, c.At.Sub(down))
		}
	}
	if n := r.log.Lines() - before; n == 0 || n > 3*int(outage/time.Second) {
		t.Errorf("got %d log lines in %s; want 1 to %d", n, outage, 3*int(outage/time.Second))
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	orphans := r.finish(batch, true)
	r.wantAllDoneOnce(batch, calls)
	t.Logf("%d calls were orphaned", orphans)
}
