package admin

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"path"
	"regexp"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
)

// monitorRoot is where asynq's dashboard is.
const monitorRoot = "/asynqmon/"

// existing hands asynqmon our client. It is never asked to close it.
type existing struct{ client redis.UniversalClient }

// MakeRedisClient is what asynq's RedisConnOpt is made of.
func (e existing) MakeRedisClient() any { return e.client }

var _ asynq.RedisConnOpt = existing{}

// monitor is asynq's dashboard. With tokens about it only shows.
func (h *handler) monitor() http.Handler {
	readOnly := !h.cfg.Loopback || len(h.cfg.Tokens) > 0
	format := func(_ string, payload []byte) string { return shown(payload) }
	board := asynqmon.New(asynqmon.Options{
		RootPath:         monitorRoot,
		RedisConnOpt:     existing{h.cfg.Redis},
		PayloadFormatter: asynqmon.PayloadFormatterFunc(format),
		ResultFormatter:  asynqmon.ResultFormatterFunc(format),
		ReadOnly:         readOnly,
	})
	// Its page asks another site for fonts; the operator's browser is not to tell
	// that site anything, so fonts come from the machine. Its inline scripts are
	// known by their hashes.
	csp := "default-src 'none'; connect-src 'self'; img-src 'self' data:; manifest-src 'self'; font-src 'self'; " +
		"style-src 'self' 'unsafe-inline'; script-src 'self'" + scriptHashes(board) + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != monitorRoot && path.Clean(r.URL.Path) != strings.TrimSuffix(r.URL.Path, "/") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Security-Policy", csp)
		if strings.HasSuffix(r.URL.Path, ".css") {
			w.Header().Set("Content-Type", "text/css; charset=utf-8")
		}
		if r.Method == http.MethodGet || r.Method == http.MethodHead || readOnly {
			board.ServeHTTP(w, r)
			return
		}
		h.guard(board, w, r)
	})
}

// shown writes a payload for people: JSON with its lines, text, or its size.
func shown(payload []byte) string {
	var b bytes.Buffer
	switch {
	case len(payload) == 0:
		return ""
	case json.Indent(&b, payload, "", "  ") == nil:
		return b.String()
	default:
		return strings.ToValidUTF8(string(payload), "\uFFFD")
	}
}

var inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)

// scriptHashes are the sources by which a Content-Security-Policy knows the inline
// scripts of the dashboard's page.
func scriptHashes(board http.Handler) string {
	page := &recorder{header: http.Header{}}
	r, err := http.NewRequest(http.MethodGet, monitorRoot, nil)
	if err != nil {
		return ""
	}
	board.ServeHTTP(page, r)
	hashes := ""
	for _, script := range inlineScript.FindAllSubmatch(page.body.Bytes(), -1) {
		sum := sha256.Sum256(script[1])
		hashes += " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return hashes
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
func (r *recorder) WriteHeader(int)             {}
