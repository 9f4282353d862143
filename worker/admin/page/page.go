package page

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/batchreport"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/overview"
)

// Config configures the pages. Overview, Client and Circuits are required.
type Config struct {
	Overview *overview.Reader
	Client   *tasks.Client
	Circuits *circuit.Store
	// Causes groups the failed calls of a batch. Without it the page of a batch has no causes.
	Causes *batchreport.Follower
	// Who returns who sends a request, for records and logs. Defaults to "the status page".
	Who func(context.Context) string
	// MayChange reports whether who sends a request may change things. Defaults to yes.
	MayChange func(context.Context) bool
	// SignedIn reports whether who sends a request can sign out. Defaults to no.
	SignedIn func(*http.Request) bool
	// Logger receives errors and changes. Defaults to none.
	Logger *slog.Logger
}

// Pages are the pages. They are safe for concurrent use.
type Pages struct {
	cfg      Config
	log      *slog.Logger
	ctx      context.Context // ends the streams and the redrives
	streams  chan struct{}   // has a value for each open stream
	redrives redrives
}

// New returns the pages. When ctx ends, open streams and redrives that are under way end.
func New(ctx context.Context, cfg Config) *Pages {
	if cfg.Who == nil {
		cfg.Who = func(context.Context) string { return "the status page" }
	}
	if cfg.MayChange == nil {
		cfg.MayChange = func(context.Context) bool { return true }
	}
	if cfg.SignedIn == nil {
		cfg.SignedIn = func(*http.Request) bool { return false }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Pages{cfg: cfg, log: cfg.Logger, ctx: ctx, streams: make(chan struct{}, mostStreams)}
}

// Route is a route of the admin server.
type Route struct {
	// Method and Pattern are as of [http.ServeMux].
	Method, Pattern string
	// Changes reports that the route changes something, Public that everybody may see it:
	// the files that pages are drawn with.
	Changes, Public bool
	Handler         http.Handler
}

// Routes returns the routes of the pages.
func (p *Pages) Routes() []Route {
	show := func(pattern, name string, load loader) Route {
		return Route{Method: http.MethodGet, Pattern: pattern, Handler: p.page(name, load)}
	}
	change := func(pattern string, do func(http.ResponseWriter, *http.Request) error) Route {
		return Route{Method: http.MethodPost, Pattern: pattern, Changes: true, Handler: p.action(do)}
	}
	return []Route{
		show("/{$}", "overview", p.loadOverview),
		show("/batches", "batches", p.loadBatches),
		show("/batches/{name}", "batch", p.loadBatch),
		show("/dead", "dead", p.loadDead),
		show("/dead/{group}", "group", p.loadGroup),
		show("/dead/{group}/redrive", "redrive", p.loadRedrive),
		show("/calls/{id}", "call", p.loadCall),
		show("/search", "search", p.loadSearch),
		change("/dead/{group}/redrive", p.redriveGroup),
		change("/calls/{id}/redrive", p.redriveCall),
		change("/calls/{id}/cancel", p.cancelCall),
		change("/circuits/close", p.closeCircuit),
		{Method: http.MethodGet, Pattern: "/assets/{file}", Public: true, Handler: http.HandlerFunc(asset)},
	}
}

// loader reads what a page shows. It returns a [moved] error to send the browser elsewhere.
type loader func(*http.Request) (title string, data any, err error)

// moved sends the browser to another page.
type moved struct{ to string }

func (m moved) Error() string { return "see " + m.to }

// missing is what a page is about and does not exist.
type missing struct{ what, next string }

func (m missing) Error() string { return m.what }

// view is what every template gets.
type view struct {
	Title     string
	Path      string
	Now       time.Time
	Query     string
	MayChange bool
	SignedIn  bool
	Data      any
}

//go:embed templates/*.html
var templateFiles embed.FS

// templates has a template for each page, which contains the layout.
var templates = parseTemplates()

func parseTemplates() map[string]*template.Template {
	all := map[string]*template.Template{}
	layout := template.Must(template.New("layout.html").Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	for _, name := range []string{"overview", "batches", "batch", "dead", "group", "redrive", "call", "search", "error"} {
		all[name] = template.Must(template.Must(layout.Clone()).ParseFS(templateFiles, "templates/"+name+".html"))
	}
	return all
}

// page returns the handler of a page: HTML, or the stream of its changes.
func (p *Pages) page(name string, load loader) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept")
		w.Header().Set("Content-Security-Policy", contentSecurity)
		if wantsStream(r) {
			p.stream(w, r, name, load)
			return
		}
		html, err := p.render(r, name, load)
		if err != nil {
			p.fail(w, r, err)
			return
		}
		writeHTML(w, http.StatusOK, html)
	})
}

const contentSecurity = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

func (p *Pages) render(r *http.Request, name string, load loader) ([]byte, error) {
	title, data, err := load(r)
	if err != nil {
		return nil, err
	}
	return p.execute(r, name, title, data)
}

func (p *Pages) execute(r *http.Request, name, title string, data any) ([]byte, error) {
	var b bytes.Buffer
	err := templates[name].ExecuteTemplate(&b, "layout.html", view{
		Title: title, Path: r.URL.Path, Now: time.Now().UTC(), Query: r.URL.Query().Get("q"),
		MayChange: p.cfg.MayChange(r.Context()), SignedIn: p.cfg.SignedIn(r), Data: data,
	})
	if err != nil {
		return nil, fmt.Errorf("write the page %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// problem is what the error page shows.
type problem struct{ What, Next string }

// fail writes the error page. The cause is logged only.
func (p *Pages) fail(w http.ResponseWriter, r *http.Request, err error) {
	var to moved
	if errors.As(err, &to) {
		http.Redirect(w, r, to.to, http.StatusSeeOther)
		return
	}
	status, shown := p.explain(r, err)
	html, err := p.execute(r, "error", "Not shown", shown)
	if err != nil {
		p.log.Error("the error page cannot be written", "error", err)
		http.Error(w, shown.What, status)
		return
	}
	writeHTML(w, status, html)
}

// explain returns what people are told about an error.
func (p *Pages) explain(r *http.Request, err error) (status int, shown problem) {
	var gone missing
	switch {
	case errors.As(err, &gone):
		return http.StatusNotFound, problem{gone.what, gone.next}
	case errors.Is(err, tasks.ErrNoBatch):
		return http.StatusNotFound, problem{"There is no batch of this name.", "It may have been deleted, or its retention may be over."}
	case errors.Is(err, tasks.ErrNoCall):
		return http.StatusNotFound, problem{"There is no call with this id.", "It may have been forgotten: its retention may be over."}
	}
	p.log.Warn("a page cannot be shown", "path", r.URL.Path, "error", err)
	return http.StatusServiceUnavailable, problem{"Redis does not answer now.", "The page tries again by itself. The log of this process has the cause."}
}

func writeHTML(w http.ResponseWriter, status int, html []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(html) // an error means that the browser has gone
}
