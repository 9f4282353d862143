package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/redact"
)

// Timeout bounds one delivery. Standard Webhooks advises receivers to answer at once and
// senders to wait for 15 to 30 s.
const Timeout = 15 * time.Second

// mostAnswer is how much of an answer is read. It is not kept.
const mostAnswer = 64 << 10

// The headers of Standard Webhooks 1.0.0.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
)

// Sender delivers events to one receiver. It is safe for concurrent use.
type Sender struct {
	receiver Receiver
	client   *http.Client
	secrets  *redact.Redactor
	now      func() time.Time
}

// NewSender returns a sender. It reads the receiver's address and secret to check them, and
// adds them to secrets. Its error names each wrong field.
func NewSender(r Receiver, secrets *redact.Redactor) (*Sender, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	s := &Sender{
		receiver: r, secrets: secrets, now: time.Now,
		client: &http.Client{
			Transport: &http.Transport{
				Proxy:                  http.ProxyFromEnvironment,
				DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				TLSHandshakeTimeout:    10 * time.Second,
				MaxResponseHeaderBytes: mostAnswer,
				ForceAttemptHTTP2:      true,
				IdleConnTimeout:        30 * time.Second,
				MaxIdleConns:           1,
			},
			// The signature is for this receiver only.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	_, _, err := s.credentials()
	return s, err
}

// Close closes idle connections.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// credentials reads the receiver's address and the keys of its secret.
func (s *Sender) credentials() (address string, keys [][]byte, err error) {
	if address, err = s.receiver.URL.Value(); err != nil {
		return "", nil, fmt.Errorf("the url of the receiver: %w", err)
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", nil, errors.New("the url of the receiver is not a URL any more")
	}
	s.secrets.Add(address)
	if path := u.RequestURI(); !redact.Short(path) {
		s.secrets.Add(path)
	}
	if s.receiver.Secret.IsZero() {
		return address, nil, nil
	}
	secret, err := s.receiver.Secret.Value()
	if err == nil {
		s.secrets.Add(secret)
		keys, err = keysOf(secret)
	}
	if err != nil {
		return "", nil, fmt.Errorf("the secret of the receiver: %w", err)
	}
	return address, keys, nil
}

// Send delivers a message. Its error is a [*policy.Failure] without the address, or about a
// message that cannot be encoded.
func (s *Sender) Send(ctx context.Context, m Message) error {
	body, err := m.JSON()
	if s.receiver.Format == FormatSlack {
		body, err = m.Slack()
	}
	if err != nil {
		return err
	}
	address, keys, err := s.credentials()
	if err != nil {
		return &policy.Failure{Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return &policy.Failure{Err: errors.New("the url of the receiver is not a URL")}
	}
	at := s.now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "callq")
	req.Header.Set(headerID, m.ID)
	req.Header.Set(headerTimestamp, strconv.FormatInt(at.Unix(), 10))
	if len(keys) > 0 {
		req.Header.Set(headerSignature, sign(keys, m.ID, at, body))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return unanswered(err)
	}
	defer resp.Body.Close()
	return s.judge(resp)
}

// unanswered returns the failure of a request without an answer. The text of url.Error has
// the address, which may be secret.
func unanswered(err error) *policy.Failure {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var op *net.OpError
	dialed := !errors.As(err, &op) || op.Op != "dial"
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s", Timeout)
	}
	return &policy.Failure{MaybeSent: dialed, Message: err.Error()}
}

// slackCode is an error of Slack's incoming webhooks, such as channel_not_found.
var slackCode = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)

// judge reads an answer: nil, or the failure that it is.
func (s *Sender) judge(resp *http.Response) error {
	said, _ := io.ReadAll(io.LimitReader(resp.Body, mostAnswer)) // so that the connection can be used again
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return nil
	}
	f := &policy.Failure{
		Status: resp.StatusCode, Message: "the receiver answered " + resp.Status, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), s.now()),
	}
	if code := bytes.TrimSpace(said); s.receiver.Format == FormatSlack && len(code) <= 64 && slackCode.Match(code) {
		f.Code = json.Number(code)
	}
	return f
}

// retryAfter reads a Retry-After (RFC 9110, 10.2.3); 0 for none.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
