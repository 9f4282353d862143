package upstream

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

// tunnel starts a proxy. It refuses every request with status, or accepts it if status is 0.
func tunnel(t *testing.T, status int) func(*http.Request) (*url.URL, error) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if status != 0 || r.Method != http.MethodConnect {
			w.WriteHeader(status)
			return
		}
		there, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		here, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(here, "HTTP/1.1 200 Connected\r\n\r\n")
		var wg sync.WaitGroup
		for _, pair := range [][2]net.Conn{{here, there}, {there, here}} {
			wg.Go(func() {
				io.Copy(pair[0], pair[1])
				pair[0].Close()
			})
		}
		wg.Wait()
	})
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return http.ProxyURL(u)
}

func TestFailuresBeforeAndAfterTheSendAreDistinguishedThroughAProxy(t *testing.T) {
	hangs, hangsCA := tlsServer(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	works, ca := tlsServer(t, answerOK)
	for _, tt := range []struct {
		name   string
		base   string
		ca     string
		refuse int
		want   policy.Transport
	}{
		{"answered", works.URL, ca, 0, ""},
		{"never answered", hangs.URL, hangsCA, 0, policy.TransportTimeoutAfterSend},
		{"an unknown authority", works.URL, "", 0, policy.TransportTLS},
		{"refused by the proxy", works.URL, ca, 407, policy.TransportDial},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t, tt.base, func(cfg *Config) {
				cfg.TLS.CA = tt.ca
				if tt.want == policy.TransportTimeoutAfterSend {
					cfg.Timeout = 2 * time.Second // time for both handshakes on a busy machine
				}
			})
			c.rt.Proxy = tunnel(t, tt.refuse)
			a := c.Do(within(t), Request{Path: "/"})
			if a.Outcome.Transport != tt.want || tt.want == "" && a.Outcome.Status != 200 {
				t.Errorf("%+v (%v)", a.Outcome, a.Err)
			}
			c.Close()
		})
	}
}
