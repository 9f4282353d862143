package tasks_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
)

func TestACallMaySetItsIdempotencyKeyIfTheUpstreamAcceptsOne(t *testing.T) {
	for _, test := range []struct{ configured, header, says string }{
		{"Idempotency-Key", "Idempotency-Key", ""},
		{"Idempotency-Key", "idempotency-key", ""},
		{"X-Idempotency-Key", "X-Idempotency-Key", ""},
		{"X-Request-Key", "x-request-key", ""},
		{"", "X-Request-Key", ""}, // a header like any other
		{"", "Idempotency-Key", `field "headers.Idempotency-Key": needs the setting idempotency_header of upstream api; set idempotency_header: Idempotency-Key there`},
		{"", "x-idempotency-key", "set idempotency_header: X-Idempotency-Key there"},
		{"X-Request-Key", "Idempotency-Key", "is not the idempotency_header of upstream api; name it X-Request-Key, or set idempotency_header: Idempotency-Key"},
	} {
		rules := tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "api", IdempotencyHeader: test.configured}}}
		call, err := rules.Check(tasks.Call{Key: "k", Method: "POST", Path: "/pay", Headers: map[string]string{test.header: "order-17"}})
		var bad *tasks.FieldError
		switch {
		case test.says == "" && (err != nil || len(call.Headers) != 1):
			t.Errorf("%+v: %v", test, err)
		case test.says != "" && (!errors.As(err, &bad) || !strings.Contains(bad.Error(), test.says) || strings.Contains(bad.Error(), "order-17")):
			t.Errorf("%+v: %v", test, err)
		}
	}
	// A call with another key is another call: the key is part of the content.
	one := tasks.Call{Path: "/pay", Headers: map[string]string{"Idempotency-Key": "order-17"}}
	other := tasks.Call{Path: "/pay", Headers: map[string]string{"Idempotency-Key": "order-18"}}
	if tasks.ContentHash(one) == tasks.ContentHash(other) {
		t.Error("calls with different idempotency keys have the same content hash")
	}
}
