package upstream

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/redact"
)

// replace replaces a file atomically, as a rotation should. The new file has the
// modification time of the old one.
func replace(t *testing.T, path, content string) {
	t.Helper()
	before, statErr := os.Stat(path)
	fresh := path + ".new"
	if err := os.WriteFile(fresh, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if statErr == nil {
		if err := os.Chtimes(fresh, before.ModTime(), before.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(fresh, path); err != nil {
		t.Fatal(err)
	}
}

func TestAReplacedFileIsReadAgainEvenWithTheSameTime(t *testing.T) {
	dir := t.TempDir()
	// As Kubernetes mounts a secret: the path contains a link to a directory, which changes.
	name, folder := filepath.Join(dir, "key"), filepath.Join(dir, "data")
	old := time.Unix(1_700_000_000, 0)
	for version, content := range []string{"one", "two"} {
		file := filepath.Join(dir, fmt.Sprintf("v%d", version), "key")
		if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, file, content)
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
	}
	linkTo := func(to string) {
		next := folder + ".next"
		if err := os.Symlink(to, next); err != nil {
			t.Skip("no symbolic links here:", err)
		}
		if err := os.Rename(next, folder); err != nil {
			t.Fatal(err)
		}
	}
	linkTo("v0")
	if err := os.Symlink(filepath.Join("data", "key"), name); err != nil {
		t.Fatal(err)
	}
	s := FileSecret(name)
	for i, want := range []string{"one", "two", "six"} {
		switch i {
		case 1:
			linkTo("v1")
		case 2:
			replace(t, filepath.Join(dir, "v1", "key"), "six")
		}
		if got, err := s.Value(); got != want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
}

func TestAFileThatIsWrittenTwiceWithTheSameTimeIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	at := time.Now()
	s := FileSecret(file)
	for _, want := range []string{"one", "two"} {
		writeFile(t, file, want)
		if err := os.Chtimes(file, at, at); err != nil { // as on a file system with coarse times
			t.Fatal(err)
		}
		if got, err := s.Value(); got != want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
}

// A new generation for an unchanged credential would cause a useless call with the
// credential that the API has refused.
func TestConcurrentReadersOfAChangingFileCountEachChangeOnce(t *testing.T) {
	const rotations = 50
	file := filepath.Join(t.TempDir(), "key")
	replace(t, file, "key-0000")
	a := Bearer(FileSecret(file)).kind().authorizer(authEnv{secrets: &redact.Redactor{}}).(*staticAuth)
	if _, err := a.current(false); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := a.current(i%2 == 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range rotations {
		replace(t, file, fmt.Sprintf("key-%04d", i+1))
		await(t, "the change to be read", func() bool {
			c, err := a.current(false)
			return err == nil && strings.HasSuffix(c.value, fmt.Sprintf("%04d", i+1))
		})
	}
	close(stop)
	readers.Wait()
	if c, _ := a.current(true); c.generation != rotations+1 {
		t.Errorf("got %d generations of %d credentials", c.generation, rotations+1)
	}
}

func TestAQueryParameterIsReadAgainWhenTheTokenIsRenewed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	at := time.Unix(1_700_000_000, 0)
	put := func(content string) {
		writeFile(t, file, content)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	put("apikey-1")
	i := &issuer{answer: numberedToken}
	c := i.start(t, func(auth *OAuth2Config) { auth.Query = map[string]Secret{"apikey": FileSecret(file)} })
	a := c.Do(within(t), Request{Path: "/"})
	put("apikey-2")
	if fresh, err := c.Refresh(within(t), a.TokenGeneration); !fresh || err != nil {
		t.Fatalf("fresh %v, %v", fresh, err)
	}
	c.Do(within(t), Request{Path: "/"})
	if got := strings.Join(i.calls, "; "); got != "Bearer token-1 apikey=apikey-1; Bearer token-2 apikey=apikey-2" {
		t.Errorf("arrived: %s", got)
	}
}

func TestARotatedClientSecretIsUsedForTheNextToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	writeFile(t, file, "client-secret-old")
	i := &issuer{answer: numberedToken}
	c := i.start(t, func(auth *OAuth2Config) { auth.ClientSecret = FileSecret(file) })
	i.answer = func(w http.ResponseWriter, n int) {
		if !strings.HasSuffix(i.basic[n-1], "client-secret-new") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		numberedToken(w, n)
	}
	if a := c.Do(within(t), Request{Path: "/"}); a.Outcome.Status != http.StatusUnauthorized || !c.CanRefresh(a.TokenGeneration) {
		t.Fatalf("%+v", a.Outcome)
	}
	replace(t, file, "client-secret-new")
	if fresh, err := c.Refresh(within(t), 0); !fresh || err != nil {
		t.Errorf("fresh %v, %v", fresh, err)
	}
	if a := c.Do(within(t), Request{Path: "/"}); a.Outcome.Status != 200 {
		t.Errorf("%+v", a)
	}
}
