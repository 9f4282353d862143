package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

func TestARequestThatIsSentLateIsConfirmedFirst(t *testing.T) {
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		// ago is the time since the last confirmation, dial the duration of the dial.
		ago, dial time.Duration
		err       error
		confirms  int32
		sent      bool
	}{
		"confirmed just now":                          {sent: true},
		"confirmed long ago":                          {ago: ConfirmAfter, confirms: 1, sent: true},
		"confirmed long ago, now refused":             {ago: ConfirmAfter, err: refused, confirms: 1},
		"expires during a slow dial":                  {ago: ConfirmAfter - 50*time.Millisecond, dial: 100 * time.Millisecond, confirms: 1, sent: true},
		"expires during a slow dial, then is refused": {ago: ConfirmAfter - 50*time.Millisecond, dial: 100 * time.Millisecond, err: refused, confirms: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var arrived, confirms atomic.Int32
			api := serve(t, func(w http.ResponseWriter, r *http.Request) {
				arrived.Add(1)
				answerOK(w, r)
			})
			client := newClient(t, api.URL, func(cfg *Config) {
				cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					<-time.After(c.dial)
					return new(net.Dialer).DialContext(ctx, network, address)
				}
			})
			a := client.Do(within(t), Request{
				Method: http.MethodPost, Path: "/", NonIdempotent: true, Confirmed: time.Now().Add(-c.ago),
				Confirm: func(context.Context) error { confirms.Add(1); return c.err },
			})
			if a.NotSent == c.sent || (arrived.Load() == 1) != c.sent || arrived.Load() > 1 || confirms.Load() != c.confirms {
				t.Errorf("got NotSent %t, %d requests, %d calls of Confirm (%v); want sent %t, %d calls of Confirm", a.NotSent, arrived.Load(), confirms.Load(), a.Err, c.sent, c.confirms)
			}
		})
	}
}

// This happens if the process was stopped after net/http had chosen the connection.
func TestNothingIsSentOnAReusedConnectionAfterTheDeadline(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	conn := newCountedConn(here, true, &serverBehavior{})
	_ = here.SetDeadline(time.Now().Add(10 * time.Second)) // nothing reads from the other end
	conn.reused = true
	conn.begin(false, time.Now().Add(-time.Millisecond))
	if n, err := conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); n != 0 || !errors.Is(err, errRetired) || !conn.refusedLate() || conn.wrote.Load() != 0 {
		t.Errorf("got %d bytes written, %v; want errRetired", n, err)
	}
}
