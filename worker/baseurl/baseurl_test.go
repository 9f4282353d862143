package baseurl_test

import (
	"testing"

	"github.com/seed-2903acc3/callq/worker/baseurl"
)

func TestCanonicalRemovesDifferencesThatDoNotMatter(t *testing.T) {
	for _, same := range [][]string{
		{"https://api.example.com", "https://api.example.com/", "HTTPS://API.example.com", "https://api.example.com:443", "https://api.example.com:443//", "https://user:secret@api.example.com"},
		{"http://api.example.com/v1", "http://api.example.com:80/v1/", "http://API.EXAMPLE.COM/v1"},
		{"http://api.example.com:443/v1"}, {"http://api.example.com/V1"}, {"https://api.example.com:80"}, {"http://api.example.com/v2"},
		{"http://[::1]:8080/a", "http://[::1]:8080/a/"}, {"http://127.0.0.1:8080"}, {"http://127.0.0.1:8081"}, {"http://localhost:8080"},
	} {
		for _, one := range same {
			if got := baseurl.Canonical(one); got != same[0] {
				t.Errorf("%s: got %s, want %s", one, got, same[0])
			}
		}
	}
}
