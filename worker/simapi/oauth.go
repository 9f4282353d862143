package simapi

import (
	"net/http"
	"net/url"
)

// standardToken is the answer of RFC 6749 5.1.
const standardToken = `{"access_token":"${token}","token_type":"Bearer","expires_in":${life}}`

// issuesTokens reports whether a request asks for a token.
func (a *account) issuesTokens(r *http.Request) bool {
	if a.oauth.ClientID == "" || r.Method != http.MethodPost {
		return false
	}
	return r.URL.Path == tokenPath || a.api != nil && a.api.tokenPath != "" && r.URL.Path == a.api.tokenPath
}

// issueToken is POST /oauth/token: RFC 6749 4.4 as far as the request goes, and the API's own form of answer.
func (s *Server) issueToken(w http.ResponseWriter, r *http.Request, seq int64, content []byte) {
	form, err := url.ParseQuery(string(content))
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	a := answer{kind: kindBody, label: "token-refused", status: http.StatusBadRequest}
	s.mu.Lock()
	now := s.now()
	switch {
	case err != nil:
		a.text = `{"error":"invalid_request","error_description":"the body is no form"}`
	case !s.account.knows(id, secret):
		a.status = http.StatusUnauthorized
		a.text = `{"error":"invalid_client"}`
	case form.Get("grant_type") != "client_credentials":
		a.text = `{"error":"unsupported_grant_type","error_description":"want client_credentials"}`
	default:
		token, life := s.account.issue(now)
		s.book.stats.TokensIssued++
		a.label, a.status = "token", http.StatusOK
		if p := s.account.api; p != nil {
			a.text = facts{token: token, life: life}.fill(orElse(p.tokenBody, standardToken), inJSON)
			break
		}
		answer := map[string]any{orElse(s.account.oauth.TokenField, "token"): token, "expires_in": seconds(life)}
		if s.account.oauth.Nested {
			answer = map[string]any{"data": answer}
		}
		answer["status"] = "approved"
		a.text = string(plainJSON(answer))
	}
	s.book.answered(seq, a)
	s.notify()
	s.mu.Unlock()
	a.send(w, now, a.bodyOf(Envelope{}, nil))
}
