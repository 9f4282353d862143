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

	"github.com/seed-2903acc3/callq/worker/admin/access"
)

// monitorRoot is the path of asynq's dashboard.
const monitorRoot = "/asynqmon/"

// sharedClient gives asynqmon the handler's Redis client. asynqmon never closes it.
type sharedClient struct{ client redis.UniversalClient }

// MakeRedisClient implements asynq.RedisConnOpt.
func (e sharedClient) MakeRedisClient() any { return e.client }

var _ asynq.RedisConnOpt = sharedClient{}

// board is asynq's dashboard with the content policy of its page.
type board struct {
	http.Handler
	policy string
}

// board returns asynq's dashboard, without the buttons that change tasks if it is
// read-only.
func (h *handler) board(readOnly bool) board {
	format := func(_ string, payload []byte) string { return formatPayload(payload) }
	pages := asynqmon.New(asynqmon.Options{
		RootPath:         monitorRoot,
		RedisConnOpt:     sharedClient{h.cfg.Redis},
		PayloadFormatter: asynqmon.PayloadFormatterFunc(format),
		ResultFormatter:  asynqmon.ResultFormatterFunc(format),
		ReadOnly:         readOnly,
	})
	// asynqmon's page loads fonts from another site. The policy blocks that, so that the
	// operator's browser sends nothing to that site; the browser uses its own fonts. The
	// page's inline scripts are allowed by their hashes.
	return board{pages, "default-src 'none'; connect-src 'self'; img-src 'self' data:; manifest-src 'self'; font-src 'self'; " +
		"style-src 'self' 'unsafe-inline'; script-src 'self'" + scriptHashes(pages) + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
}

// monitor returns asynq's dashboard. Only an operator's page has buttons that change tasks.
func (h *handler) monitor() http.Handler {
	changing, reading := h.board(false), h.board(true)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != monitorRoot && path.Clean(r.URL.Path) != strings.TrimSuffix(r.URL.Path, "/") {
			http.NotFound(w, r)
			return
		}
		shown := reading
		if access.RoleOf(r.Context()).Includes(access.Operator) {
			shown = changing
		}
		w.Header().Set("Content-Security-Policy", shown.policy)
		if strings.HasSuffix(r.URL.Path, ".css") {
			w.Header().Set("Content-Type", "text/css; charset=utf-8")
		}
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			shown.ServeHTTP(w, r)
			return
		}
		h.log.Info("a change in asynqmon", "who", access.Who(r.Context()), "method", r.Method, "path", strings.TrimPrefix(r.URL.Path, monitorRoot))
		h.guard(shown, w, r)
	})
}

// formatPayload writes a payload for people: indented JSON, or text.
func formatPayload(payload []byte) string {
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

// scriptHashes returns the sources that allow the inline scripts of the dashboard's page
// in a Content-Security-Policy.
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

// recorder records a response's header and body.
type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
func (r *recorder) WriteHeader(int)             {}
