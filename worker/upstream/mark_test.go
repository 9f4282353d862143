package upstream

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAMarkChangesWithWhatIdentifiesTheUpstreamAndWithNothingElse(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "file")
		writeFile(t, path, text)
		return path
	}
	token, id, key := file("one"), file("one"), file("one")
	cert, certKey := certificate(t, "one")
	cert, certKey = file(cert), file(certKey)
	for name, c := range map[string]struct {
		auth Auth
		tls  TLS
		path string
	}{
		"a token":       {auth: Bearer(FileSecret(token)), path: token},
		"a client's id": {auth: oauth(FileSecret(id), nil), path: id},
		"an api key":    {auth: oauth(StaticSecret("id"), map[string]Secret{"apikey": FileSecret(key)}), path: key},
		"a certificate": {tls: TLS{Cert: cert, Key: certKey}, path: cert},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := New(Config{Name: "sim", BaseURL: "https://127.0.0.1/", Auth: c.auth, TLS: c.tls})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			first, ok := client.Mark()
			if again, stillOK := client.Mark(); again != first || !ok || !stillOK {
				t.Error("the mark changes by itself")
			}
			writeFile(t, c.path, "other")
			second, _ := client.Mark()
			if second == first {
				t.Error("another one has the same mark")
			}
			if err := os.Remove(c.path); err != nil {
				t.Fatal(err)
			}
			if mark, ok := client.Mark(); ok && mark != second {
				t.Error("a file that is missing has changed the mark")
			}
		})
	}
}

func oauth(id Secret, query map[string]Secret) Auth {
	return OAuth2(OAuth2Config{TokenURL: "https://127.0.0.1/token", ClientID: id, ClientSecret: StaticSecret("s"), Query: query})
}
