package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
	"github.com/seed-2903acc3/callq/worker"
)

// Upstream is an API that is called.
type Upstream struct {
	// Name is its key.
	Name string
	// Pos is where its key is.
	Pos yamlfile.Pos
	// BaseURL is an absolute http or https URL without query, user info and fragment.
	// It is empty until [Config.Resolve] if it contains a reference.
	BaseURL string
	// Policy is the policy as it is written: a preset's name or a path.
	Policy string
	// PolicyPath is the absolute path of the policy file, empty for a preset.
	PolicyPath string
	// PolicyPos is where Policy is written, for errors when it is loaded.
	PolicyPos yamlfile.Pos
	// Auth is the credential.
	Auth Auth
	// Timeout is the timeout of one attempt.
	Timeout time.Duration
	// Concurrency is how many calls the fleet has in flight at most.
	Concurrency int
	// Limits and Budget are the limits on the calls.
	Limits []Limit
	Budget []Budget
	// Cost is the price of a call, nil if it is not given.
	Cost *Cost
	// Endpoints are patterns, "METHOD /path/*". The paths that match one are one
	// endpoint.
	Endpoints []string
	// Idempotent are the patterns of the calls that may be sent again.
	Idempotent []string
	// IdempotencyHeader is the header that makes every call idempotent, empty for
	// none.
	IdempotencyHeader string
	// MaxBody is the size of the largest body of a request or an answer, in bytes.
	MaxBody int64
	// Headers and Query are sent with every call, unless the call sets them itself.
	Headers map[string]string `json:",omitempty"`
	Query   map[string]string `json:",omitempty"`
	// KeepHeaders are the headers of answers that results contain.
	KeepHeaders []string `json:",omitempty"`
	// Verify says how to ask the API whether a call took effect; nil: it is not asked.
	Verify *worker.Verify `json:",omitempty"`
	// TLS are the files for the connection, with absolute paths.
	TLS TLS
	// Defaults are the values that come from the policy.
	Defaults []Default `json:",omitempty"`
}

// Default is a value of an upstream that comes from its policy.
type Default struct {
	// Key is base_url, idempotent, idempotency_header or headers.NAME.
	Key string
	// Value is its text for people.
	Value string
	// Where is where it is written in the policy, as FILE:LINE.
	Where string
}

// TLS are the paths of PEM files, empty if they are not given. They are complete after
// [Config.Resolve].
type TLS struct {
	CA, Cert, Key string
}

// DefaultIdempotent are the methods that HTTP defines as idempotent (RFC 9110,
// 9.2.2), without TRACE.
func DefaultIdempotent() []string {
	return []string{"GET *", "HEAD *", "OPTIONS *", "PUT *", "DELETE *"}
}

func (d *decoder) upstreams(e yamlfile.Value) {
	e.Each(func(name string, e yamlfile.Value) {
		if !upstreamName.MatchString(name) {
			d.Failf(e.Key(), "%q cannot name an upstream; use 1 to 64 of a-z, 0-9, _ and -", name)
		}
		d.upstream(name, e)
	})
}

func (d *decoder) upstream(name string, e yamlfile.Value) {
	u := &Upstream{
		Name:        name,
		Pos:         e.Key(),
		Timeout:     DefaultTimeout,
		Concurrency: DefaultConcurrency,
		Idempotent:  DefaultIdempotent(),
		MaxBody:     DefaultMaxBody,
		Auth:        Auth{Type: AuthNone},
	}
	d.cfg.Upstreams = append(d.cfg.Upstreams, u)
	if e.Kind() != yamlfile.KindMapping {
		e.FailType("a mapping of keys and values")
		return
	}
	var r upstreamRead
	g := e.Mapping(d.upstreamFields(u, &r))
	defaults, unread := u.policyDefaults()
	u.applyDefaults(defaults, g.Lacks("base_url"), !r.idempotentGiven, g.Lacks("idempotency_header"))
	d.add(u, r.sent)
	u.addHeaders(defaults)
	switch {
	case !g.Lacks("base_url") || u.BaseURL != "":
	case unread:
		e.FailKeyf("has no base_url, and its policy, which may give one, cannot be read; callq policy lint %s says why", u.Policy)
	default:
		e.FailKeyf("has no base_url; write the API's URL, as in base_url: https://api.example.com")
	}
	if g.Lacks("policy") {
		e.FailKeyf("has no policy; name a preset (callq policy presets lists them) or the path of a policy file")
	}
	if !r.costWrong && (u.Cost != nil || g.Lacks("cost")) {
		d.checkBudgets(u, e.Path())
	}
}

// upstreamRead is what the checks of an upstream need besides its values.
type upstreamRead struct {
	costWrong, idempotentGiven bool
	sent                       additions
}

// upstreamFields reads the keys of an upstream.
func (d *decoder) upstreamFields(u *Upstream, r *upstreamRead) yamlfile.Fields {
	return yamlfile.Fields{
		"base_url": func(e yamlfile.Value) {
			d.text(e, upstreams, httpsyntax.CheckBaseURL, func(value string) { u.BaseURL = value })
		},
		"policy": func(e yamlfile.Value) { d.policy(e, u) },
		"auth":   func(e yamlfile.Value) { u.Auth = d.auth(e) },
		"timeout": func(e yamlfile.Value) {
			if value, ok := e.Duration(false); ok {
				u.Timeout = value
			}
		},
		"concurrency": func(e yamlfile.Value) {
			if n, ok := e.Int(1, maxConcurrency); ok {
				u.Concurrency = n
			}
		},
		"limits": func(e yamlfile.Value) { u.Limits = d.limits(e) },
		"budget": func(e yamlfile.Value) { u.Budget = d.budget(e) },
		"cost": func(e yamlfile.Value) {
			before := d.Failures()
			u.Cost = d.cost(e)
			r.costWrong = d.Failures() > before
		},
		"endpoints": func(e yamlfile.Value) {
			u.Endpoints = d.patterns(e, parseEndpoint)
		},
		"idempotent": func(e yamlfile.Value) {
			if e.Kind() != yamlfile.KindNull {
				u.Idempotent, r.idempotentGiven = d.patterns(e, policy.ParsePattern), true
			}
		},
		"idempotency_header": func(e yamlfile.Value) {
			if value, ok := d.plain(e); ok {
				d.check(e.Pos(), e.Path(), value, checkHeaderName)
				u.IdempotencyHeader = value
			}
		},
		"max_body": func(e yamlfile.Value) {
			if n, ok := d.size(e, 1, maxSize); ok {
				u.MaxBody = n
			}
		},
		"headers":      func(e yamlfile.Value) { r.sent.headers = d.additions(e) },
		"query":        func(e yamlfile.Value) { r.sent.query = d.additions(e) },
		"keep_headers": func(e yamlfile.Value) { u.KeepHeaders = d.keepHeaders(e) },
		"verify":       func(e yamlfile.Value) { u.Verify = d.verify(e) },
		"tls":          func(e yamlfile.Value) { d.tls(e, &u.TLS) },
	}
}

// policy reads the name of a preset or a path.
func (d *decoder) policy(e yamlfile.Value, u *Upstream) {
	value, ok := d.plain(e)
	if !ok {
		return
	}
	u.Policy, u.PolicyPos = value, e.Pos()
	if policy.IsPath(value) {
		u.PolicyPath = d.path(value)
		return
	}
	if !slices.Contains(policy.Presets(), value) {
		_, err := policy.Preset(value) // its error lists the presets
		d.Failf(u.PolicyPos, "%v", err)
	}
}

// path makes a path absolute. It is relative to the folder of the file.
func (d *decoder) path(value string) string {
	if filepath.IsAbs(value) {
		return filepath.Clean(value)
	}
	return filepath.Join(d.dir, value)
}

// parseEndpoint parses a pattern that combines paths into one endpoint.
func parseEndpoint(text string) (policy.Pattern, error) {
	p, err := policy.ParsePattern(text)
	if method, path, _ := strings.Cut(text, " "); err == nil && (method == "*" || path[0] == '*') {
		return p, errors.New(`combines all kinds of calls into one endpoint; write a method and a path, as in "GET /patent/*"`)
	}
	return p, err
}

// patterns reads a list of patterns.
func (d *decoder) patterns(e yamlfile.Value, parse func(string) (policy.Pattern, error)) []string {
	// Not nil: an empty list means that nothing is idempotent.
	patterns := []string{}
	e.List(func(e yamlfile.Value) {
		if p, ok := parsePlain(d, e, parse); ok {
			patterns = append(patterns, p.String())
		}
	})
	return patterns
}

var sizePattern = regexp.MustCompile(`^(\d{1,12})\s*(B|KB|KiB|MB|MiB|GB|GiB)$`)

var sizeUnits = map[string]int64{
	"B": 1, "KB": 1_000, "KiB": 1 << 10, "MB": 1_000_000, "MiB": 1 << 20, "GB": 1_000_000_000, "GiB": 1 << 30,
}

// maxSize is the size of the largest Redis string, in bytes. Bodies are Redis strings.
const maxSize = 512 << 20

// size reads a number of bytes between least and most.
func (d *decoder) size(e yamlfile.Value, least, most int64) (int64, bool) {
	var text string
	if e.Kind() == yamlfile.KindInt {
		text, _ = e.Scalar()
		text += "B"
	} else if value, ok := d.plain(e); ok {
		text = value
	} else {
		return 0, false
	}
	m := sizePattern.FindStringSubmatch(text)
	if m == nil {
		e.Failf("is not a size; write a number and a unit, as in 8MiB")
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n > most/sizeUnits[m[2]] || n*sizeUnits[m[2]] < least {
		e.Failf("is out of range; write a size up to %s", sizeText(most))
		return 0, false
	}
	return n * sizeUnits[m[2]], true
}

// sizeText formats a size in the largest unit of which it is a whole number.
func sizeText(n int64) string {
	for _, unit := range []string{"GiB", "MiB", "KiB"} {
		if n%sizeUnits[unit] == 0 {
			return strconv.FormatInt(n/sizeUnits[unit], 10) + unit
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// tls reads the paths into files. A path with a reference is stored when its section is
// resolved.
func (d *decoder) tls(e yamlfile.Value, files *TLS) {
	file := func(field *string) func(yamlfile.Value) {
		return func(e yamlfile.Value) {
			d.text(e, upstreams, checkAny, func(value string) { *field = d.path(value) })
		}
	}
	g := e.Mapping(yamlfile.Fields{"ca": file(&files.CA), "cert": file(&files.Cert), "key": file(&files.Key)})
	if g.Lacks("cert") != g.Lacks("key") {
		e.FailKeyf("needs cert and key together; write both, or neither")
	}
}

func checkAny(string) error { return nil }

// maxHeaderName is the length of the longest header name, in bytes.
const maxHeaderName = 256

func checkToken(value string) error {
	if !httpsyntax.IsToken(value) || len(value) > maxHeaderName {
		return errors.New("is not a header name; write letters, digits and dashes, as in X-Api-Key")
	}
	return nil
}

// checkHeaderName checks the name of a header that callq sends.
func checkHeaderName(value string) error {
	if err := checkToken(value); err != nil {
		return err
	}
	if httpsyntax.IsClientSet(value) {
		return fmt.Errorf("is %s, which the HTTP client sets by itself; choose another header", value)
	}
	return nil
}
