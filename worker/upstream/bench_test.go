package upstream

import (
	"context"
	"net/http"
	"testing"
)

// BenchmarkDo makes calls to a server on this machine, over one kept connection.
func BenchmarkDo(b *testing.B) {
	plain := []byte(`{"status":true,"error_code":0,"data":{"patent_id":"US1","title":"solar cell"}}`)
	packed := zipped(b, string(plain))
	for name, path := range map[string]string{"plain": "/plain", "gzip": "/gzip"} {
		b.Run(name, func(b *testing.B) {
			s := serve(b, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.URL.Path == "/gzip" {
					w.Header().Set("Content-Encoding", "gzip")
					w.Write(packed)
					return
				}
				w.Write(plain)
			})
			c := newClient(b, s.URL)
			b.ReportAllocs()
			for b.Loop() {
				if a := c.Do(context.Background(), Request{Path: path}); a.Outcome.Status != 200 {
					b.Fatal(a.Err)
				}
			}
		})
	}
}
