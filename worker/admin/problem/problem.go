// Package problem writes the errors of the admin server as problem documents (RFC 9457).
// It may change in any version.
package problem

import (
	"encoding/json"
	"net/http"
)

// ContentType is the media type of a problem document.
const ContentType = "application/problem+json"

// Problem is an error of one request.
type Problem struct {
	// Title is the text of the status.
	Title string `json:"title" doc:"What kind of problem it is, in the words of HTTP." example:"Not Found"`
	// Status is the HTTP status.
	Status int `json:"status" doc:"The HTTP status." example:"404"`
	// Detail says what is wrong and what to do.
	Detail string `json:"detail" doc:"What is wrong, and what to do." example:"there is no batch \"b\"; GET /v1/batches lists the batches"`
}

// New returns a problem.
func New(status int, detail string) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Detail: detail}
}

// Error returns what is wrong and what to do.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType replaces the media type of an answer by that of a problem.
func (p *Problem) ContentType(string) string { return ContentType }

// Write writes a problem as the answer. v is a *Problem, or a struct that embeds one.
func Write(w http.ResponseWriter, v interface{ GetStatus() int }) {
	w.Header().Set("Content-Type", ContentType)
	w.WriteHeader(v.GetStatus())
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v) // an error means that the client has gone
}
