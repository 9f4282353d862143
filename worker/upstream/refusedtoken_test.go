package upstream

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestATokenThatWasRefusedWhenItWasNewIsNotReplacedForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n refusedToken
		if !n.mayReplace(1) {
			t.Error("the first token may not be replaced")
		}
		n.noteRefused(2)
		if n.mayReplace(2) {
			t.Error("it may be replaced at once")
		}
		if !n.mayReplace(1) || !n.mayReplace(3) {
			t.Error("other tokens may not be replaced")
		}
		<-time.After(newTokenPause)
		if !n.mayReplace(2) {
			t.Error("it may not be replaced after the pause")
		}
	})
}

func TestATokenThatTheAPIHasAcceptedMayBeReplaced(t *testing.T) {
	for name, note := range map[string]func(*refusedToken){
		"before the refusal": func(n *refusedToken) { n.noteAccepted(2); n.noteRefused(2) },
		"after it":           func(n *refusedToken) { n.noteRefused(2); n.noteAccepted(2) },
	} {
		var n refusedToken
		if note(&n); !n.mayReplace(2) {
			t.Errorf("%s: it may not be replaced", name)
		}
	}
}

func TestATokenThatWasRefusedWhenItWasNewIsReplacedOnceTheClientHasChanged(t *testing.T) {
	i := &issuer{answer: numberedToken}
	path := filepath.Join(t.TempDir(), "secret")
	writeFile(t, path, "client-secret-1")
	c := i.start(t, func(auth *OAuth2Config) { auth.ClientSecret = FileSecret(path) })
	c.Do(within(t), Request{Path: "/"})
	if fresh, err := c.Refresh(within(t), 1); !fresh || err != nil {
		t.Fatalf("fresh %v, %v", fresh, err)
	}
	if c.NoteRefused(2); c.CanRefresh(2) {
		t.Error("the token is to be replaced although one more would not help")
	}
	writeFile(t, path, "client-secret-2")
	if !c.CanRefresh(2) {
		t.Error("the token is not to be replaced although the client has another secret")
	}
}
