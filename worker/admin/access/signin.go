package access

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

//go:embed signin.html
var signInSource string

var signInTemplate = template.Must(template.New("sign-in").Parse(signInSource))

// maxForm is the largest body of the form, in bytes.
const maxForm = 16 << 10

// Routes are the routes by which browsers sign in and out.
func (c *Control) Routes() []Route {
	return []Route{
		{http.MethodGet, "/sign-in", Public, http.HandlerFunc(c.showSignIn)},
		{http.MethodPost, "/sign-in", Public, http.HandlerFunc(c.signIn)},
		{http.MethodPost, "/sign-out", Public, http.HandlerFunc(c.signOut)},
	}
}

// signInPage is what the page shows.
type signInPage struct {
	// Next is the path to go to afterwards.
	Next string
	// Problem says why the last try failed.
	Problem string
}

func (c *Control) showSignIn(w http.ResponseWriter, r *http.Request) {
	next := localPath(r.URL.Query().Get("next"))
	if _, signedIn := c.fromSession(r); signedIn || len(c.tokens) == 0 {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return
	}
	c.writeSignIn(w, http.StatusOK, signInPage{Next: next})
}

func (c *Control) writeSignIn(w http.ResponseWriter, status int, page signInPage) {
	var b bytes.Buffer
	if err := signInTemplate.Execute(&b, page); err != nil {
		c.log.Error("the sign-in page cannot be written", "error", err)
		http.Error(w, "the sign-in page cannot be written; see the log", http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // an error means that the client has gone
}

// signIn begins a session for a browser that has sent a token.
func (c *Control) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read; open /sign-in and try again", http.StatusBadRequest)
		return
	}
	next := localPath(r.PostForm.Get("next"))
	if len(c.tokens) == 0 {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return
	}
	given := strings.TrimSpace(r.PostForm.Get("token"))
	if given == "" {
		c.writeSignIn(w, http.StatusUnauthorized, signInPage{Next: next, Problem: "Write a token."})
		return
	}
	token, refused := c.check(r.RemoteAddr, given)
	if refused != nil {
		retryAfter(w, refused)
		text := refused.text
		c.writeSignIn(w, refused.status, signInPage{Next: next, Problem: strings.ToUpper(text[:1]) + text[1:] + "."})
		return
	}
	c.forget(r)
	value := c.sessions.begin(token.Name, sha256.Sum256([]byte(given)), c.now())
	http.SetCookie(w, cookieOf(r, value, int(sessionFor.Seconds())))
	c.log.Info("signed in", "token", token.Name, "role", token.Role, "address", addressOf(r.RemoteAddr).Addr())
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// signOut ends the session of a browser.
func (c *Control) signOut(w http.ResponseWriter, r *http.Request) {
	c.forget(r)
	http.SetCookie(w, cookieOf(r, "", -1))
	http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
}

// forget ends the session that a request belongs to.
func (c *Control) forget(r *http.Request) {
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		c.sessions.end(cookie.Value)
	}
}

func cookieOf(r *http.Request, value string, seconds int) *http.Cookie {
	return &http.Cookie{
		Name: sessionCookie, Value: value, Path: "/", MaxAge: seconds,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	}
}

// localPath returns a path of this server, "/" for anything else: a link to the sign-in
// page must not lead to another site.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(next, "/") ||
		strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}
