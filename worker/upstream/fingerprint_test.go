package upstream

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFingerprintChangesOnlyWithTheCredentialAndTheTLSFiles(t *testing.T) {
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
			first, ok := client.Fingerprint()
			if second, secondOK := client.Fingerprint(); second != first || !ok || !secondOK {
				t.Error("the fingerprint has changed without a change of a file")
			}
			writeFile(t, c.path, "other")
			second, _ := client.Fingerprint()
			if second == first {
				t.Error("the fingerprint has not changed with the file")
			}
			if err := os.Remove(c.path); err != nil {
				t.Fatal(err)
			}
			if third, ok := client.Fingerprint(); ok && third != second {
				t.Error("the fingerprint has changed when the file was removed")
			}
		})
	}
}

func oauth(id Secret, query map[string]Secret) Auth {
	return OAuth2(OAuth2Config{TokenURL: "https://127.0.0.1/token", ClientID: id, ClientSecret: StaticSecret("s"), Query: query})
}
