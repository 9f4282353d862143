package upstream

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-2903acc3/callq/internal/shortduration"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/policy/errortext"
	"github.com/seed-2903acc3/callq/policy/place"
	"github.com/tidwall/gjson"

	"github.com/seed-2903acc3/callq/worker/redact"
)

const (
	maxTokenAnswer   = 1 << 20
	maxToken         = 16 << 10
	maxTokenLifetime = 366 * 24 * time.Hour
	maxTokenTimeout  = 30 * time.Second
)

// oauth2Auth gets bearer tokens by the client credentials grant (RFC 6749, 4.4).
type oauth2Auth struct {
	auth    OAuth2Config
	timeout time.Duration
	// address is the token URL without its query, for error messages.
	address string
	rt      *http.Transport
	policy  *policy.Policy
	secrets *redact.Redactor
	tokens  *tokens
	// refused is the token that was refused as a new one, and client the clientMark of the
	// last token request.
	refused refusedToken
	client  atomic.Uint64
}

func newOAuth2Auth(auth OAuth2Config, cfg Config, rt *http.Transport, secrets *redact.Redactor) *oauth2Auth {
	o := &oauth2Auth{
		address: addressOf(auth.TokenURL),
		auth:    auth, timeout: min(cfg.Timeout, maxTokenTimeout), rt: rt, policy: cfg.Policy, secrets: secrets,
	}
	addURLSecrets(secrets, auth.TokenURL)
	o.tokens = newTokens(o.fetch, cfg.Logger.With("upstream", cfg.Name))
	return o
}

func (o *oauth2Auth) credential(ctx context.Context) (credential, error) {
	token, err := o.tokens.get(ctx)
	if err != nil {
		return credential{}, err
	}
	c := credential{generation: token.generation, header: "Authorization", value: "Bearer " + token.token}
	for name, s := range o.auth.Query {
		v, err := s.reader(o.secrets, name)(false)
		if err != nil {
			return credential{}, unauthorized(fmt.Errorf("credential: query.%s: %w", name, err))
		}
		c.query = append(c.query, param{name, v})
	}
	slices.SortFunc(c.query, func(a, b param) int { return strings.Compare(a.name, b.name) })
	return c, nil
}

func (o *oauth2Auth) refresh(ctx context.Context, used uint64) (bool, error) {
	for _, s := range o.auth.Query {
		_, _ = s.read(readOptions{fresh: true}) // the next call reports the error
	}
	token, err := o.tokens.renew(ctx, used)
	return err == nil && token.generation > used, err
}

// canRefresh is true unless the token was refused as a new one, by the same client.
func (o *oauth2Auth) canRefresh(used uint64) bool {
	if o.refused.mayReplace(used) {
		return true
	}
	id, err1 := o.auth.ClientID.read(readOptions{fresh: true})
	secret, err2 := o.auth.ClientSecret.read(readOptions{fresh: true})
	return err1 != nil || err2 != nil || clientMark(id, secret) != o.client.Load()
}

func (o *oauth2Auth) noteRefused(generation uint64)  { o.refused.noteRefused(generation) }
func (o *oauth2Auth) noteAccepted(generation uint64) { o.refused.noteAccepted(generation) }

func (o *oauth2Auth) close() {
	o.tokens.close()
	o.rt.CloseIdleConnections()
}

// fetch makes one request to the token endpoint.
func (o *oauth2Auth) fetch(ctx context.Context) (grant, *credentialError) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	req, err := o.tokenRequest(ctx)
	if err != nil {
		return grant{}, unauthorized(o.redactedError(err))
	}
	resp, f := roundTrip(ctx, o.rt, req, false, time.Time{})
	if f != nil {
		return grant{}, o.noTokenAnswer(f.withTimeoutText(ctx, "no answer within "+shortduration.Text(o.timeout)))
	}
	received := time.Now()
	body, f := readBody(ctx, resp, maxTokenAnswer)
	if f != nil {
		return grant{}, o.noTokenAnswer(f.withTimeoutText(ctx, "no complete answer within "+shortduration.Text(o.timeout)))
	}
	// Read the token from the unredacted body: an endpoint may return the same token
	// again. Read the error from the redacted body, so that it contains no secret, not
	// even half of one that was cut.
	addTokenSecrets(o.secrets, body.bytes, o.auth.TokenField)
	redacted := body.redact(o.secrets)
	cerr := tokenRefusal(o.policy, resp.StatusCode, o.secrets.Header(resp.Header), redacted)
	if cerr == nil {
		g, err := readToken(body.bytes, o.auth.TokenField)
		if err == nil {
			o.secrets.Add(g.token, "Bearer")
			return g, nil
		}
		if message := errorInSuccess(redacted.bytes); message != "" {
			err = fmt.Errorf("answered %d %s", resp.StatusCode, message)
		}
		cerr = unauthorized(err)
		cerr.outcome.CorrelationID = policy.CorrelationID(o.secrets.Header(resp.Header))
	}
	cerr.err = o.redactedError(cerr.err)
	cerr.outcome.Message = sanitize([]byte(cerr.err.Error()), maxMessage)
	cerr.status = resp.StatusCode
	cerr.outcome.ReceivedAt = received
	cerr.outcome.Header = o.secrets.Header(resp.Header) // it may contain Retry-After
	return grant{}, cerr
}

// tokenRequest always reads the files of the client's secrets again: token requests are
// rare.
func (o *oauth2Auth) tokenRequest(ctx context.Context) (*http.Request, error) {
	id, err := o.auth.ClientID.read(readOptions{fresh: true})
	if err != nil {
		return nil, fmt.Errorf("client_id: %w", err)
	}
	secret, err := o.auth.ClientSecret.reader(o.secrets, "client_secret", id)(true)
	if err != nil {
		return nil, fmt.Errorf("client_secret: %w", err)
	}
	o.client.Store(clientMark(id, secret))

	form := url.Values{"grant_type": {"client_credentials"}}
	if len(o.auth.Scopes) > 0 {
		form.Set("scope", strings.Join(o.auth.Scopes, " "))
	}
	header := http.Header{
		"Content-Type":    {"application/x-www-form-urlencoded"},
		"Accept":          {"application/json"},
		"Accept-Encoding": {"gzip"},
		"User-Agent":      {"callq"},
	}
	if o.auth.Style == StyleBody {
		form.Set("client_id", id)
		form.Set("client_secret", secret)
	} else {
		// RFC 6749, 2.3.1: id and secret are form-encoded before they are joined.
		pair := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id) + ":" + url.QueryEscape(secret)))
		o.secrets.Add(pair, "Basic")
		header.Set("Authorization", "Basic "+pair)
	}
	u, err := url.Parse(o.auth.TokenURL)
	if err != nil {
		return nil, errors.New("token_url is not a URL")
	}
	body := []byte(form.Encode())
	return (&http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}).WithContext(ctx), nil
}

// redactedError returns err without secrets and with the address of the token endpoint.
func (o *oauth2Auth) redactedError(err error) error {
	return errors.New(strings.TrimSpace(o.secrets.Text("token endpoint " + o.address + ": " + err.Error())))
}

// noTokenAnswer describes a token request without an answer. In every case the call
// itself was not sent.
func (o *oauth2Auth) noTokenAnswer(f *failure) *credentialError {
	if errors.Is(f.err, ErrMachine) {
		return &credentialError{err: f.err}
	}
	kind := f.kind
	switch kind {
	case policy.TransportTimeoutAfterSend:
		kind = policy.TransportTimeoutBeforeSend
	case policy.TransportResetAfterSend, policy.TransportNone:
		kind = policy.TransportResetBeforeSend
	}
	return &credentialError{
		outcome: policy.Outcome{Transport: kind, ReceivedAt: time.Now()},
		err:     o.redactedError(f.err),
	}
}

// tokenRefusal returns nil if an answer of the token endpoint may contain a token.
// Otherwise it returns the outcome that the policy judges:
//
//   - an error code of the API, unless it is one of RFC 6749, 5.2: unchanged;
//   - 429: a 429, with its headers;
//   - a failure of the server (5xx, 408, 425, a web page instead of JSON): a reset
//     before the call was sent;
//   - a redirect: a redirect, because the token URL is wrong;
//   - any other answer: a 401, because the client or its settings were refused.
func tokenRefusal(p *policy.Policy, status int, header http.Header, body content) *credentialError {
	o := p.ReadAnswer(policy.Response{Status: status, Header: header, Body: body.bytes, Cut: body.cut})
	as := func(o policy.Outcome, format string, args ...any) *credentialError {
		return &credentialError{outcome: o, err: fmt.Errorf(format, args...)}
	}
	switch {
	case o.Code != "" && o.Code != "0" && !errortext.IsOAuthCode(o.Code):
		return as(o, "error %s: %s", o.Code, o.Message)
	case status == http.StatusTooManyRequests:
		return as(o, "answered 429 %s", o.Message)
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return as(policy.Outcome{Transport: policy.TransportResetBeforeSend}, "answered %d %s", status, o.Message)
	case status >= 300 && status < 400:
		return as(policy.Outcome{Transport: policy.TransportRedirect},
			"answered %d, a redirect, which is not followed; correct token_url", status)
	case status < 400 && (o.Body == policy.BodyCut || o.Body == policy.BodyHTML || o.Body == policy.BodyEmpty):
		return as(policy.Outcome{Transport: policy.TransportResetBeforeSend}, "answered %d with a body that is not JSON", status)
	case status >= 400 || o.Flag == policy.FlagFalse:
		e := unauthorized(fmt.Errorf("answered %d %s", status, oauthError(o, body.bytes)))
		e.outcome.CorrelationID = o.CorrelationID
		return e
	}
	return nil
}

// oauthError returns the error of RFC 6749, 5.2, or another message in the answer.
func oauthError(o policy.Outcome, body []byte) string {
	if o.Message == "" && isJSONObject(body) {
		message, _ := errortext.OAuth(body)
		return message
	}
	return o.Message
}

// errorInSuccess returns the error in an answer without a token whose status is a
// success, or "" if there is none. Some token endpoints refuse a client this way.
func errorInSuccess(body []byte) string {
	if !isJSONObject(body) {
		return ""
	}
	text, refused := errortext.OAuth(body)
	if !refused {
		return ""
	}
	return text
}

// readToken finds a token and its lifetime in an answer such as
// {"access_token":"…","expires_in":1799} or {"data":{"token":"…","expires_in":"1799"}}.
// Its errors do not repeat the answer.
func readToken(body []byte, field string) (grant, error) {
	if !isJSONObject(body) {
		return grant{}, errors.New("the answer is not a JSON object")
	}
	doc := gjson.ParseBytes(body)
	paths := []string{"access_token", "token", "data.access_token", "data.token"}
	if field != "" {
		paths = []string{field, "data." + field}
	}
	for _, path := range paths {
		v, parent := lookUpPath(doc, path)
		if v.Type != gjson.String || v.Str == "" {
			continue
		}
		if len(v.Str) > maxToken || !isVisibleASCII(v.Str) {
			return grant{}, fmt.Errorf("the token under %s is too long or contains characters that a header must not contain", path)
		}
		return grant{token: v.Str, lifetime: tokenLifetime(parent, doc)}, nil
	}
	return grant{}, fmt.Errorf("the answer has no token under %s; set token_field", strings.Join(paths, ", "))
}

// lookUpPath returns the value at a path of names joined by dots, and the object that
// contains it.
func lookUpPath(doc gjson.Result, path string) (value, parent gjson.Result) {
	value = doc
	for name := range strings.SplitSeq(path, ".") {
		parent = value
		if !parent.IsObject() {
			return gjson.Result{}, parent
		}
		value = member(parent, name)
	}
	return value, parent
}

// member returns the field with exactly this name. gjson's paths are not used, because
// some characters have a special meaning in them.
func member(object gjson.Result, name string) gjson.Result {
	var out gjson.Result
	object.ForEach(func(key, value gjson.Result) bool {
		if key.Str == name {
			out = value
		}
		return true
	})
	return out
}

// tokenLifetime returns expires_in, which is in seconds, as a number or text, from the
// first object that has it. It returns 0 if there is none or it is invalid.
func tokenLifetime(objects ...gjson.Result) time.Duration {
	for _, object := range objects {
		v := member(object, "expires_in")
		literal := strings.TrimSpace(v.Str)
		if v.Type == gjson.Number {
			literal = v.Raw
		}
		seconds, err := strconv.ParseFloat(literal, 64)
		if err != nil || math.IsNaN(seconds) || seconds <= 0 {
			continue
		}
		if seconds >= maxTokenLifetime.Seconds() {
			return maxTokenLifetime
		}
		return time.Duration(seconds * float64(time.Second))
	}
	return 0
}

func isJSONObject(body []byte) bool {
	body = bytes.TrimSpace(body)
	return len(body) > 0 && body[0] == '{' && place.IsJSON(body)
}

// isVisibleASCII reports whether s has only visible ASCII characters, as a bearer token
// must (RFC 6750, 2.1).
func isVisibleASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// addressOf returns a URL without user and query, which may contain secrets.
func addressOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
