package redact

import (
	"context"
	"fmt"
	"io"
	"log/slog"
)

// Writer returns a writer that removes credentials and then writes to w. A credential
// that is split between two calls of Write is not found, so each call must write a
// whole line, as loggers do.
func (r *Redactor) Writer(w io.Writer) io.Writer { return &writer{r, w} }

type writer struct {
	r *Redactor
	w io.Writer
}

func (w *writer) Write(p []byte) (int, error) {
	clean := w.r.Bytes(p)
	n, err := w.w.Write(clean)
	if len(clean) == len(p) || err != nil {
		return min(n, len(p)), err
	}
	return len(p), nil
}

// Handler returns a handler that removes credentials from the messages and attributes of
// log records and then passes the records to h.
func (r *Redactor) Handler(h slog.Handler) slog.Handler { return &handler{r, h} }

type handler struct {
	r *Redactor
	h slog.Handler
}

// Enabled calls Enabled of the inner handler.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool { return h.h.Enabled(ctx, level) }

// Handle passes the record without credentials to the inner handler.
func (h *handler) Handle(ctx context.Context, record slog.Record) error {
	clean := slog.NewRecord(record.Time, record.Level, h.r.Text(record.Message), record.PC)
	record.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.attr(a))
		return true
	})
	return h.h.Handle(ctx, clean)
}

// WithAttrs returns a handler that adds the attributes to each record.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = h.attr(a)
	}
	return &handler{h.r, h.h.WithAttrs(clean)}
}

// WithGroup returns a handler that puts attributes into a group.
func (h *handler) WithGroup(name string) slog.Handler { return &handler{h.r, h.h.WithGroup(name)} }

func (h *handler) attr(a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	// The text has the form of a text handler's, because the name before a short value
	// decides whether it is a credential.
	clean := func(text string) (string, bool) {
		begin := a.Key + "="
		out := h.r.Text(begin + text)
		return out[min(len(begin), len(out)):], out != begin+text
	}
	switch a.Value.Kind() {
	case slog.KindString:
		if text, changed := clean(a.Value.String()); changed {
			a.Value = slog.StringValue(text)
		}
	case slog.KindGroup:
		group := a.Value.Group()
		attrs := make([]slog.Attr, len(group))
		for i, inner := range group {
			attrs[i] = h.attr(inner)
		}
		a.Value = slog.GroupValue(attrs...)
	case slog.KindAny:
		text := ""
		if b, ok := a.Value.Any().([]byte); ok {
			text = string(b)
		} else {
			text = fmt.Sprint(a.Value.Any())
		}
		if text, changed := clean(text); changed {
			a.Value = slog.StringValue(text)
		}
	}
	return a
}
