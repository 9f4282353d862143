package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
)

//go:embed assets
var assetFiles embed.FS

// asset serves a file of the pages. Its address has its hash, so browsers keep it.
func asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	data, err := assetFiles.ReadFile("assets/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	w.Header().Set("Cache-Control", "private, max-age=86400")
	_, _ = w.Write(data) // an error means that the browser has gone
}

// assetURL returns the address of a file.
func assetURL(name string) (string, error) {
	data, err := assetFiles.ReadFile("assets/" + name)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return "/assets/" + name + "?v=" + hex.EncodeToString(sum[:6]), nil
}
