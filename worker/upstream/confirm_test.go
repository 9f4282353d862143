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

func TestARequestThatLeavesLateIsConfirmedFirst(t *testing.T) {
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		// ago is when it was confirmed, dial how long its connection takes.
		ago, dial time.Duration
		err       error
		asked     int32
		sent      bool
	}{
		"it was just confirmed":                     {sent: true},
		"that is long ago":                          {ago: ConfirmAfter, asked: 1, sent: true},
		"that is long ago, and it is another's now": {ago: ConfirmAfter, err: refused, asked: 1},
		"its connection takes long":                 {ago: ConfirmAfter - 50*time.Millisecond, dial: 100 * time.Millisecond, asked: 1, sent: true},
		"meanwhile it has become another's":         {ago: ConfirmAfter - 50*time.Millisecond, dial: 100 * time.Millisecond, err: refused, asked: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var arrived, asked atomic.Int32
			api := serve(t, func(w http.ResponseWriter, r *http.Request) {
				arrived.Add(1)
				wellDone(w, r)
			})
			client := newClient(t, api.URL, func(cfg *Config) {
				cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					<-time.After(c.dial)
					return new(net.Dialer).DialContext(ctx, network, address)
				}
			})
			a := client.Do(within(t), Request{
				Method: http.MethodPost, Path: "/", NonIdempotent: true, Confirmed: time.Now().Add(-c.ago),
				Confirm: func(context.Context) error { asked.Add(1); return c.err },
			})
			if a.NotSent == c.sent || (arrived.Load() == 1) != c.sent || arrived.Load() > 1 || asked.Load() != c.asked {
				t.Errorf("not sent %t, arrived %d times, asked %d times, %v; want it sent %t after %d questions", a.NotSent, arrived.Load(), asked.Load(), a.Err, c.sent, c.asked)
			}
		})
	}
}

// As a process that was stopped writes on the connection that it had chosen before.
func TestNothingLeavesOnAKeptConnectionAfterItsTime(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	conn := newCountedConn(here, true, &habits{})
	_ = here.SetDeadline(time.Now().Add(10 * time.Second)) // nobody reads
	conn.reused = true
	conn.begin(false, time.Now().Add(-time.Millisecond))
	if n, err := conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); n != 0 || !errors.Is(err, errSpent) || !conn.missed() || conn.wrote.Load() != 0 {
		t.Errorf("%d bytes left, %v", n, err)
	}
}
