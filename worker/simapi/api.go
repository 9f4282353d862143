package simapi

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/internal/glob"
)

// DefaultAPI is the API that a Config without a name simulates. It answers with an Envelope and has its own codes; the
// other APIs have named answers.
const DefaultAPI = "patsnap"

// api describes one vendor's HTTP API: what a good answer looks like, which other answers a script can name, and how the
// account's limits are reported. It holds only values; the file of each API is a table. Headers and bodies are templates,
// see facts.
type api struct {
	name string

	// headers are sent with every answer of the API, limitHeaders with every answer while a quota counts. One
	// "Name: value" each; a header whose value comes out empty is left out.
	headers      []string
	limitHeaders []string

	// limit is what answers call the limit where no quota is configured.
	limit int

	// success lists the good answers by call; the first that matches is used. The last one matches every call.
	success []successReply

	// replies are the answers that a script can name.
	replies map[string]apiReply

	// Names of the replies that the account refuses calls with. Empty outOfCredit: the API has no prepaid balance.
	overLimit, outOfCredit, badToken, expiredToken string

	// tokenHeader is where calls carry their token, besides Authorization.
	tokenHeader string

	// tokenPath issues tokens, besides /oauth/token; tokenBody is its answer. Empty: the answer of RFC 6749.
	tokenPath, tokenBody string

	// keepsAnswers: a POST that comes again with the same Idempotency-Key gets the answer of the first one.
	keepsAnswers bool

	demo apiDemo
}

// successReply is the good answer to the calls that match: a method and a path, in which * stands for any text.
type successReply struct {
	call  string
	reply apiReply
}

// apiReply is an answer of an API.
type apiReply struct {
	status  int           // 0: 200
	headers []string      // as in api
	kind    string        // Content-Type; "": application/json
	body    string        // a template
	message string        // a template too; ${message}, where the script gives none
	wait    time.Duration // until calls are taken again, where the script gives no time

	// beforeWork: the call is refused before its work starts, so that no answer is kept for its Idempotency-Key.
	beforeWork bool
}

// apis are the simulated APIs besides the default one, by name.
var apis = func() map[string]*api {
	byName := map[string]*api{}
	for _, a := range []*api{
		&openaiAPI, &anthropicAPI, &googleAPI, &githubAPI, &stripeAPI, &shopifyAPI, &slackAPI, &salesforceAPI,
		&hubspotAPI, &twilioAPI, &jiraAPI, &awsAPI, &epoAPI,
	} {
		byName[a.name] = a
	}
	return byName
}()

// APIs lists the names of the APIs that can be simulated, in ascending order.
func APIs() []string {
	return slices.Sorted(maps.Keys(withDefault()))
}

func withDefault() map[string]*api {
	all := maps.Clone(apis)
	all[DefaultAPI] = nil
	return all
}

// Answers lists the answers that a script for an API can name, besides those of every script, in ascending order. It is
// nil for DefaultAPI, whose answers are its Codes, and for a name that is not among APIs.
func Answers(name string) []string {
	if apis[name] == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(apis[name].replies))
}

// lookAPI returns the API of a name; nil stands for the default one. False: there is none of that name.
func lookAPI(name string) (*api, bool) {
	a, found := withDefault()[orElse(name, DefaultAPI)]
	return a, found
}

// answerNamed is the answer that a script or the account names; wait, where positive, replaces the reply's own.
func (p *api) answerNamed(name string, wait time.Duration) answer {
	r := p.replies[name]
	a := answer{kind: kindReply, label: name, reply: &r, status: r.status, message: r.message, wait: r.wait}
	if wait > 0 {
		a.wait = wait
	}
	return a
}

// filled gives an answer that is made of the API's good one its status and body.
func (p *api) filled(a answer, r *http.Request) answer {
	switch a.kind {
	case kindOK, kindCut, kindBig, kindMalformed, kindResetAfter:
	default:
		return a
	}
	call := r.Method + " " + r.URL.Path
	for i := range p.success {
		if s := &p.success[i]; glob.Match(s.call, call) {
			a.reply = &s.reply
			if a.status == 0 {
				a.status = s.reply.status
			}
			break
		}
	}
	return a
}

// saysWait reports whether an answer has a place for the time to wait.
func (r *apiReply) saysWait() bool {
	return strings.Contains(r.template(), "${wait") || strings.Contains(r.template(), "${reset")
}

// saysMessage reports whether an answer has a place for a message.
func (r *apiReply) saysMessage() bool {
	return strings.Contains(r.template(), "${message}")
}

func (r *apiReply) template() string {
	return strings.Join(r.headers, "\n") + "\n" + r.message + "\n" + r.body
}

// with returns the reply with more headers and a time to wait, as the tables need it.
func (r apiReply) with(wait time.Duration, headers ...string) apiReply {
	r.wait, r.headers = wait, append(slices.Clone(r.headers), headers...)
	return r
}

// as returns the reply with another status.
func (r apiReply) as(status int) apiReply {
	r.status = status
	return r
}

// refusedBeforeWork returns the reply as one that is not kept.
func (r apiReply) refusedBeforeWork() apiReply {
	r.beforeWork = true
	return r
}
