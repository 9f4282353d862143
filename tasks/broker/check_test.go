package broker

import (
	"errors"
	"strings"
	"testing"
)

func TestTheLinkedAsynqRunsTheExpectedScripts(t *testing.T) {
	if err := CheckScripts(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestAnUnexpectedScriptIsNamedWithTheVersions(t *testing.T) {
	for i := range probed {
		known := probed[i].sha
		t.Run(probed[i].name, func(t *testing.T) {
			probed[i].sha = "0123"
			defer func() { probed[i].sha = known }()
			err := CheckScripts(t.Context())
			if !errors.Is(err, ErrUnknownScript) || !strings.Contains(err.Error(), "the "+probed[i].name+" script") ||
				!strings.Contains(err.Error(), known) || !strings.Contains(err.Error(), "v0.26.0") {
				t.Fatalf("got %v", err)
			}
		})
	}
}
