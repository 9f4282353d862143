package policy

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The documents or reports of each spelling.
const (
	rfc9110     = "https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3"
	rfc9110Date = "https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7"
	draft8      = "https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers"
	draft7      = "https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-07"
	draft3      = "https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-03"
	polli       = "https://datatracker.ietf.org/doc/html/draft-polli-ratelimit-headers-05"
	unity       = "https://docs.unity.com/services-web-apis/headers"
	zendesk     = "https://developer.zendesk.com/documentation/api-basics/best-practices/best-practices-for-avoiding-rate-limiting"
	openai      = "https://platform.openai.com/docs/guides/rate-limits"
	groq        = "https://github.com/anomalyco/opencode/pull/48185"
	anthropic   = "https://docs.anthropic.com/en/api/rate-limits"
	azure       = "https://github.com/Azure/azure-sdk-for-rust/issues/1516"
	azureOpenAI = "https://learn.microsoft.com/en-us/answers/questions/5625878"
	github      = "https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api"
	gitlab      = "https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/"
	twitter     = "https://docs.x.com/fundamentals/rate-limits"
	twitterV1   = "https://gist.github.com/funkatron/577273"
	discord     = "https://docs.discord.com/developers/topics/rate-limits"
	lemlist     = "https://developer.lemlist.com/api-reference/getting-started/rate-limits"
	rachio      = "https://rachio.discoursehosting.net/t/api-rate-limiting-enhancements/10944"
	akamai      = "https://techdocs.akamai.com/msl/reference/resource-limiting"
	mailerlite  = "https://developers-classic.mailerlite.com/docs/api-rate-limits"
	agentAI     = "https://docs.agent.ai/ratelimits"
	omnisend    = "https://api-docs.omnisend.com/v5/reference/rate-limit-timeouts-errors"
	clawhub     = "https://github.com/openclaw/clawhub/issues/407"
	msgraph     = "https://github.com/microsoftgraph/microsoft-graph-docs/issues/17442"
	camara      = "https://github.com/CamaraDosDeputados/dados-abertos/issues/286"
	httpx       = "https://github.com/will-ockmore/httpx-retries/issues/58"
	rfc3339     = "https://www.rfc-editor.org/rfc/rfc3339#section-5.6"
	rfc5322     = "https://www.rfc-editor.org/rfc/rfc5322#section-4.3"
	rfc9110List = "https://www.rfc-editor.org/rfc/rfc9110#section-5.3"
	ratelimitJS = "https://github.com/express-rate-limit/ratelimit-header-parser"
)

// spellings are answers that say when to call again. The epoch 1772366400 is noon.
var spellings = []struct {
	source string
	header http.Header
	wait   time.Duration
	by     Source
}{
	{rfc9110, headers("Retry-After", "120"), 2 * time.Minute, SourceRetryAfter},
	{rfc9110, headers("Retry-After", "0"), 0, SourceRetryAfter},
	{rfc9110Date, headers("Retry-After", "Sun, 01 Mar 2026 13:00:00 GMT"), time.Hour, SourceRetryAfter},
	{rfc9110Date, headers("Retry-After", "Sunday, 01-Mar-26 13:00:00 GMT"), time.Hour, SourceRetryAfter},
	{rfc9110Date, headers("Retry-After", "Sun Mar  1 13:00:00 2026"), time.Hour, SourceRetryAfter},
	{msgraph, headers("Retry-After", "2.128"), 2128 * time.Millisecond, SourceRetryAfter},
	{rfc5322, headers("Retry-After", "Sun, 01 Mar 2026 13:00:00 UTC"), time.Hour, SourceRetryAfter},
	{rfc5322, headers("Retry-After", "Sun, 01 Mar 2026 13:00:00 +0000"), time.Hour, SourceRetryAfter},
	{rfc5322, headers("Retry-After", "Sun, 01 Mar 2026 13:00:00 UT"), time.Hour, SourceRetryAfter},
	{rfc5322, headers("Retry-After", "Sun, 1 Mar 2026 08:00:00 EST"), time.Hour, SourceRetryAfter},
	{rfc5322, headers("Retry-After", "1 Mar 2026 14:30:00 +0130"), time.Hour, SourceRetryAfter},
	{rfc5322, headers("Retry-After", "Sunday, 01-Mar-26 13:00:00 UTC"), time.Hour, SourceRetryAfter},
	{httpx, headers("Retry-After", "Sun, 01 Mar 2026 13:00:00"), time.Hour, SourceRetryAfter},
	{rfc3339, headers("Retry-After", "2026-03-01T13:00:00Z"), time.Hour, SourceRetryAfter},
	{rfc3339, headers("Retry-After", "2026-03-01t15:00:00.5+02:00"), time.Hour + 500*time.Millisecond, SourceRetryAfter},
	{rfc3339, headers("Retry-After", "2026-03-01 13:00:00Z"), time.Hour, SourceRetryAfter},
	{clawhub, headers("Retry-After", "1772370000"), time.Hour, SourceRetryAfter},
	{clawhub, headers("Retry-After", "1772370000000"), time.Hour, SourceRetryAfter},
	{camara, headers("Retry-After", "30s"), 30 * time.Second, SourceRetryAfter},
	{groq, headers("Retry-After", "2m59.56s"), 179560 * time.Millisecond, SourceRetryAfter},
	{groq, headers("Retry-After", "370ms"), 370 * time.Millisecond, SourceRetryAfter},
	{groq, headers("Retry-After", "1h30m"), 90 * time.Minute, SourceRetryAfter},
	{rfc9110List, headers("Retry-After", "10", "Retry-After", "3600"), time.Hour, SourceRetryAfter},
	{rfc9110List, headers("Retry-After", "3600", "Retry-After", "10"), time.Hour, SourceRetryAfter},
	{rfc9110List, headers("Retry-After", "3600, 3600"), time.Hour, SourceRetryAfter},
	{rfc9110List, headers("Retry-After", "10, Sun, 01 Mar 2026 13:00:00 GMT, soon"), time.Hour, SourceRetryAfter},
	{rfc9110List, headers("Retry-After", "Sun, 01 Mar 2026 13:00:00 GMT, Sun, 01 Mar 2026 12:00:10 GMT"), time.Hour, SourceRetryAfter},
	{azure, headers("Retry-After-Ms", "1500"), 1500 * time.Millisecond, SourceRetryAfter},
	{azure, headers("X-Ms-Retry-After-Ms", "250"), 250 * time.Millisecond, SourceRetryAfter},
	{azure, headers("X-Retry-After-Ms", "250"), 250 * time.Millisecond, SourceRetryAfter},
	{azure, headers("Retry-After", "1", "Retry-After-Ms", "1500"), 1500 * time.Millisecond, SourceRetryAfter},
	{mailerlite, headers("X-RateLimit-Remaining", "0", "X-RateLimit-Retry-After", "59"), 59 * time.Second, SourceRetryAfter},

	{github, headers("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "1772370000"), time.Hour, SourceRateLimitReset},
	{github, headers("X-RateLimit-Reset", "1772370000"), time.Hour, SourceRateLimitReset},
	{twitter, headers("X-Rate-Limit-Remaining", "0", "X-Rate-Limit-Reset", "1772370000"), time.Hour, SourceRateLimitReset},
	{omnisend, headers("X-Rate-Limit-Remaining", "0", "X-Rate-Limit-Reset", "42"), 42 * time.Second, SourceRateLimitReset},
	{ratelimitJS, headers("X-RateLimit-Reset", "1772370000000"), time.Hour, SourceRateLimitReset},
	{ratelimitJS, headers("X-RateLimit-Reset", "3600000"), time.Hour, SourceRateLimitReset},
	{rachio, headers("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "2026-03-01T13:00:00Z"), time.Hour, SourceRateLimitReset},
	{mailerlite, headers("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "2026-03-01 13:00:00"), time.Hour, SourceRateLimitReset},
	{lemlist, headers("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "Sun Mar 01 2026 14:00:00 GMT+0100 (Central European Standard Time)"),
		time.Hour, SourceRateLimitReset},
	{twitterV1, headers("X-RateLimit-Reset", "Sun Mar 01 13:00:00 +0000 2026"), time.Hour, SourceRateLimitReset},
	{gitlab, headers("RateLimit-Remaining", "0", "RateLimit-Reset", "1772370000", "RateLimit-ResetTime", "Sun, 01 Mar 2026 13:00:00 GMT"),
		time.Hour, SourceRateLimitReset},
	{gitlab, headers("RateLimit-ResetTime", "Sun, 01 Mar 2026 13:00:00 GMT"), time.Hour, SourceRateLimitReset},
	{agentAI, headers("ratelimit-remaining", "0", "ratelimit-reset-date", "2026-03-01T13:00:00.000Z"), time.Hour, SourceRateLimitReset},
	{discord, headers("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "1772366464.57", "X-RateLimit-Reset-After", "64.57"),
		64570 * time.Millisecond, SourceRateLimitReset},
	{akamai, headers("X-RateLimit-Remaining", "0", "X-RateLimit-Next", "2026-03-01T12:00:00.25Z"), 250 * time.Millisecond, SourceRateLimitReset},
	{openai, headers("x-ratelimit-remaining-requests", "0", "x-ratelimit-remaining-tokens", "149984",
		"x-ratelimit-reset-requests", "1s", "x-ratelimit-reset-tokens", "6m0s"), time.Second, SourceRateLimitReset},
	{openai, headers("x-ratelimit-remaining-requests", "4999", "x-ratelimit-remaining-tokens", "0",
		"x-ratelimit-reset-requests", "12ms", "x-ratelimit-reset-tokens", "6m0s"), 6 * time.Minute, SourceRateLimitReset},
	{openai, headers("x-ratelimit-reset-requests", "12ms", "x-ratelimit-reset-tokens", "9ms"), 12 * time.Millisecond, SourceRateLimitReset},
	{azureOpenAI, headers("x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "20",
		"x-ratelimit-remaining-tokens", "-1", "x-ratelimit-reset-tokens", "3600"), 20 * time.Second, SourceRateLimitReset},
	{anthropic, headers("anthropic-ratelimit-requests-remaining", "0", "anthropic-ratelimit-requests-reset", "2026-03-01T12:00:40Z",
		"anthropic-ratelimit-tokens-remaining", "80000", "anthropic-ratelimit-tokens-reset", "2026-03-01T13:00:00Z"), 40 * time.Second, SourceRateLimitReset},
	{polli, headers("RateLimit-Limit", "100, 100;w=60", "RateLimit-Remaining", "0", "RateLimit-Reset", "50"), 50 * time.Second, SourceRateLimitReset},
	{draft3, headers("RateLimit-Remaining", "0;w=60", "RateLimit-Reset", "50;w=60"), 50 * time.Second, SourceRateLimitReset},
	{polli, headers("RateLimit-Remaining", "0, 5", "RateLimit-Reset", "50, 3600"), 50 * time.Second, SourceRateLimitReset},
	{draft7, headers("RateLimit", "limit=100, remaining=0, reset=3600"), time.Hour, SourceRateLimitReset},
	{draft7, headers("RateLimit", "limit=10,remaining=0,reset=5", "RateLimit", "limit=100, remaining=7, reset=3600"), 5 * time.Second, SourceRateLimitReset},
	{unity, headers("RateLimit", "limit=20, remaining=0, reset=1",
		"Unity-RateLimit", "limit=20, remaining=0, reset=1; limit=4000, remaining=0, reset=1579"), 1579 * time.Second, SourceRateLimitReset},
	{unity, headers("Unity-RateLimit", "limit=20, remaining=0, reset=1; limit=4000, remaining=3994, reset=1579"), time.Second, SourceRateLimitReset},
	{zendesk, headers("zendesk-ratelimit-tickets-index", "total=100; remaining=0; resets=41", "ratelimit-remaining", "699", "ratelimit-reset", "50"),
		41 * time.Second, SourceRateLimitReset},
	{draft8, headers("RateLimit", `"name";r=0;t=36400`), 36400 * time.Second, SourceRateLimitReset},
	{draft8, headers("RateLimit", `"burst";r=0;t=5, "daily";r=100;t=36400`), 5 * time.Second, SourceRateLimitReset},
	{draft8, headers("RateLimit", `"burst";r=0;t=5`, "RateLimit", `"daily";r=0;t=36400`), 36400 * time.Second, SourceRateLimitReset},
}

func TestEverySpellingOfATimeIsRead(t *testing.T) {
	hold := Hold{Sources: []Source{SourceRetryAfter, SourceRateLimitReset, SourceLadder}, Max: 25 * time.Hour, Ladder: []time.Duration{time.Minute}}
	for _, s := range spellings {
		for _, slow := range []time.Duration{0, 17 * time.Hour} {
			// The server's clock is right, or 17 hours behind the worker's. Its dates mean
			// the same wait if the answer has a Date.
			received := noon.Add(slow)
			h := s.header.Clone()
			if slow != 0 {
				h.Set("Date", noon.Format(http.TimeFormat))
			}
			until, source := hold.Until(Outcome{Header: h, ReceivedAt: received}, received, 0, nil)
			if want := max(s.wait, leastWait); source != s.by || s.wait > 0 && s.wait < leastWait && until.Sub(received) != s.wait ||
				(s.wait <= 0 || s.wait >= leastWait) && until.Sub(received) != want {
				t.Errorf("%v (%s), clock %s behind: got %s by %s, want %s by %s", s.header, s.source, slow, until.Sub(received), source, s.wait, s.by)
			}
		}
		if s.by == SourceRetryAfter && s.wait > 0 {
			if wait, ok := RetryAfter(s.header, noon); !ok || wait != s.wait {
				t.Errorf("%v: RetryAfter returns %s %v", s.header, wait, ok)
			}
		}
		if !strings.HasPrefix(s.source, "https://") {
			t.Errorf("%v has no URL of its document", s.header)
		}
	}
}

func TestALimitThatIsNotUsedUpIsNotAReasonToWait(t *testing.T) {
	for _, h := range []http.Header{
		headers("X-RateLimit-Remaining", "59", "X-RateLimit-Reset", "1772370000"),
		headers("X-Rate-Limit-Remaining", "1", "X-Rate-Limit-Reset", "1772370000"),
		headers("RateLimit-Remaining", "0.5", "RateLimit-Reset", "60"),
		headers("X-RateLimit-Remaining", "5", "RateLimit-Reset", "60"),
		headers("RateLimit", "limit=100, remaining=3, reset=3600"),
		headers("RateLimit", `"name";r=3;t=36400`),
		headers("x-ratelimit-remaining-requests", "1", "x-ratelimit-reset-requests", "6m0s"),
		headers("anthropic-ratelimit-tokens-remaining", "80000", "anthropic-ratelimit-tokens-reset", "2026-03-01T13:00:00Z"),
		headers("zendesk-ratelimit-tickets-index", "total=100; remaining=1; resets=41"),
	} {
		if given, ok := rateLimitReset(h, noon); ok {
			t.Errorf("%v holds for %s", h, given.Wait)
		}
		if limitUsedUp(h, noon) {
			t.Errorf("%v is treated as a limit that is used up", h)
		}
	}
}

func TestALimitIsUsedUpWhereTheHeaderSaysSo(t *testing.T) {
	for _, h := range []http.Header{
		headers("Retry-After", "1"), headers("Retry-After-Ms", "1"), headers("Retry-After", "Sun, 01 Mar 2026 12:01:00 GMT"),
		headers("X-RateLimit-Remaining", "0"), headers("X-Rate-Limit-Remaining", "0"), headers("RateLimit-Remaining", " 0 "),
		headers("X-RateLimit-Remaining", "0.0"), headers("RateLimit", `"a";r=0`), headers("RateLimit", `"a";r=9;t=1, "b";r=0;t=2`),
		headers("RateLimit", "limit=10, remaining=0, reset=7"), headers("RateLimit", "limit=10, remaining=0"),
		headers("x-ratelimit-remaining-tokens", "0"), headers("X-HubSpot-RateLimit-Daily-Remaining", "0"),
		headers("X-RateLimit-Remaining-Minute", "0", "X-RateLimit-Remaining-Hour", "50"),
	} {
		if !limitUsedUp(h, noon) {
			t.Errorf("%v is not treated as a limit that is used up", h)
		}
	}
	for _, h := range []http.Header{
		nil, headers("Retry-After", "0"), headers("Retry-After", "soon"), headers("Retry-After", "Sun, 01 Mar 2026 11:00:00 GMT"),
		headers("X-RateLimit-Reset", "60"), headers("X-RateLimit-Limit", "0"), headers("X-RateLimit-Used", "0"), headers("X-RateLimit-Remaining", "none"),
		headers("x-ratelimit-limit-tokens", "-1", "x-ratelimit-remaining-tokens", "-1", "x-ratelimit-reset-tokens", "0"),
		headers("RateLimit-Policy", `"a";q=0;w=1`), headers("RateLimit-Policy", "0;w=1"), headers("X-Remaining", "0"), headers("RateLimit", `"a";r="0"`),
	} {
		if limitUsedUp(h, noon) {
			t.Errorf("%v is treated as a limit that is used up", h)
		}
	}
}

func TestServerTimesListsWhatWasUnderstood(t *testing.T) {
	h := headers("Retry-After", "10", "Retry-After", "30", "X-RateLimit-Remaining", "7", "X-RateLimit-Reset", "60", "X-RateLimit-Limit", "9")
	times := ServerTimes(Outcome{Header: h, ReceivedAt: noon})
	want := []ServerTime{
		{SourceRetryAfter, "Retry-After", "10, 30", 30 * time.Second, false},
		{SourceRateLimitReset, "X-Ratelimit-Reset", "60", time.Minute, true},
	}
	if len(times) != 2 || times[0] != want[0] || times[1] != want[1] {
		t.Errorf("got %+v, want %+v", times, want)
	}
}

func FuzzServerTimes(f *testing.F) {
	for _, s := range spellings {
		for name, lines := range s.header {
			f.Add(name, lines[0], "Sun, 01 Mar 2026 12:00:00 GMT")
		}
	}
	f.Add("Ratelimit", "limit=1,limit=2;limit", "x")
	f.Add("Retry-After", "Sunday, 01-Mar-00 12:00:60 PST", "Sunday, 01-Mar-99 12:00:60 PST")
	h := Hold{Sources: []Source{SourceRetryAfter, SourceRateLimitReset}, Max: 25 * time.Hour}
	f.Fuzz(func(t *testing.T, name, value, date string) {
		for _, header := range []http.Header{
			{name: {value}, "Date": {date}}, {name: {value, date}}, {"Retry-After": {value + "," + value}, "Ratelimit": {value + ";" + value}},
		} {
			o := Outcome{Header: header, ReceivedAt: noon}
			checkUntil(t, h, o)
			for _, given := range ServerTimes(o) {
				if given.Source == "" || given.Header == "" {
					t.Fatalf("a time without a source or a header: %+v", given)
				}
			}
			if limitUsedUp(header, noon) != limitUsedUp(header.Clone(), noon) {
				t.Fatal("the same header is read in two ways")
			}
		}
	})
}
