package httpsyntax_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
)

func TestAPathThatAServerCouldReadWithDotSegmentsIsRefused(t *testing.T) {
	for path, want := range map[string]error{
		"/a/b": nil, "/a/..b": nil, "/a/...": nil, "/a%2Fb": nil, "/100%": nil, "/%e4%b8%ad": nil,
		"/a/..": httpsyntax.ErrDotSegment, "/../a": httpsyntax.ErrDotSegment, `/a\..\b`: httpsyntax.ErrDotSegment,
		"/%2e%2e/a": httpsyntax.ErrDotSegment, "/a%2f..%2fb": httpsyntax.ErrDotSegment, "/%252e%252e/": httpsyntax.ErrDotSegment,
		"/..;x=y/": httpsyntax.ErrDotSegment, "/..%20/": httpsyntax.ErrDotSegment, "/%c0%ae%c0%ae/": httpsyntax.ErrDotSegment,
		"/%0a": httpsyntax.ErrControl, "/%250d": httpsyntax.ErrControl, "/%2525252525": httpsyntax.ErrEncodings,
	} {
		if err := httpsyntax.CheckSegments(path); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: got %v, want %v", path, err, want)
		}
	}
}

func TestABaseURLIsAbsoluteAndContainsNoSecret(t *testing.T) {
	for raw, want := range map[string]string{
		"https://api.example.com": "", "http://127.0.0.1:80/v1/": "",
		"": "is empty", "api.example.com": "is not an absolute URL", "//api.example.com": "is a URL without a scheme",
		"ftp://api.example.com": "is a URL with the scheme ftp://", "https:///v1": "is a URL without a host", "https://[": "is not an absolute URL",
		"https://u:hunter2@api.example.com": "contains a user name", "https://api.example.com#": "contains a #fragment",
		"https://api.example.com?": "contains a query", "https://api.example.com/v1/%2e%2e": "contains a ..",
	} {
		err := httpsyntax.CheckBaseURL(raw)
		if (err == nil) != (want == "") || err != nil && (!strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%q: got %v, want %q", raw, err, want)
		}
	}
	if err := httpsyntax.CheckURL("https://api.example.com/token?tenant=a"); err != nil {
		t.Errorf("a URL with a query is refused: %v", err)
	}
}

func TestIsTokenFollowsHTTP(t *testing.T) {
	for s, want := range map[string]bool{"GET": true, "X-Api-Key": true, "a!#$%&'*+-.^_`|~9": true, "": false, "a b": false, "a:": false, "é": false, "a\n": false} {
		if httpsyntax.IsToken(s) != want {
			t.Errorf("%q: got %v, want %v", s, !want, want)
		}
	}
}
