package tasks_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/records"
)

type sendInvoice struct {
	Invoice int64  `json:"invoice"`
	To      string `json:"to"`
}

func (sendInvoice) Kind() string { return "invoice.send" }

type pointerArgs struct{ N int }

func (*pointerArgs) Kind() string { return "pointer" }

type namedKind string

func (k namedKind) Kind() string { return string(k) }

type unwritable struct{ C chan int }

func (unwritable) Kind() string { return "unwritable" }

func TestAJobIsDecodedWithItsArguments(t *testing.T) {
	job, err := tasks.NewJob(sendInvoice{Invoice: 9007199254740993, To: "a@example.com"}, tasks.Options{
		Key: "inv-7", Batch: "invoices", Upstream: "mailer", Priority: tasks.PriorityHigh, Idempotent: ptr(false),
		NotBefore: instant("2026-01-01T00:00:00Z"), Deadline: instant("2026-01-02T00:00:00Z"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if job, err = (tasks.Rules{AllowJobs: true}).Check(job); err != nil {
		t.Fatal(err)
	}
	stored, err := records.Content(job)
	if err != nil {
		t.Fatal(err)
	}
	back, err := records.Call(recordOf(job, stored))
	if err != nil || !reflect.DeepEqual(back, job) {
		t.Fatalf("got %#v, %v", back, err)
	}
	kind, raw, ok := back.Job()
	if kind != "invoice.send" || string(raw) != `{"invoice":9007199254740993,"to":"a@example.com"}` || !ok {
		t.Errorf("%s %s %v", kind, raw, ok)
	}
	args, err := tasks.DecodeArgs[sendInvoice](back)
	if err != nil || args.Invoice != 9007199254740993 || args.To != "a@example.com" {
		t.Errorf("got %+v, %v", args, err)
	}
}

func TestArgumentsMayBeAPointer(t *testing.T) {
	job, err := tasks.NewJob(&pointerArgs{N: 3}, tasks.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if args, err := tasks.DecodeArgs[*pointerArgs](job); err != nil || args.N != 3 {
		t.Errorf("got %+v, %v", args, err)
	}
}

func TestArgumentsThatLookLikeABodyOfBytesStayArguments(t *testing.T) {
	job := tasks.Call{Key: "k", Upstream: "u", Method: tasks.MethodJob, Path: "/x", Body: []byte(`{"base64":"not it","content_type":"x"}`)}
	job, err := tasks.Rules{AllowJobs: true}.Check(job)
	if err != nil {
		t.Fatal(err)
	}
	if data, contentType, err := job.RequestBody(); err != nil || string(data) != string(job.Body) || contentType != "application/json" {
		t.Errorf("%s %s %v", data, contentType, err)
	}
}

func TestInvalidJobsAreRefused(t *testing.T) {
	for _, kind := range []string{"", "a/b", "../x", ".x", "a b", "a?b", "é", "a\n", strings.Repeat("a", 129)} {
		var bad *tasks.FieldError
		if _, err := tasks.NewJob(namedKind(kind), tasks.Options{}); !errors.As(err, &bad) {
			t.Errorf("kind %q: %v", kind, err)
		}
		call := tasks.Call{Key: "k", Upstream: "u", Method: "JOB", Path: "/" + kind}
		if _, err := (tasks.Rules{AllowJobs: true}).Check(call); err == nil {
			t.Errorf("kind %q: accepted by Check", kind)
		}
	}
	if _, err := tasks.NewJob(unwritable{}, tasks.Options{}); err == nil {
		t.Error("arguments with a channel were encoded")
	}
	withQuery := tasks.Call{Key: "k", Upstream: "u", Method: "JOB", Path: "/x", Query: tasks.Query{"a": "b"}}
	if _, err := (tasks.Rules{AllowJobs: true}).Check(withQuery); err == nil {
		t.Error("a job with a query was accepted")
	}
	for _, call := range []tasks.Call{
		{Method: "GET", Path: "/invoice.send"},
		{Method: "JOB", Path: "/other"},
		{Method: "JOB", Path: "/invoice.send", Body: []byte(`{"invoice":"seven"}`)},
		{Method: "JOB", Path: "/"},
	} {
		if _, err := tasks.DecodeArgs[sendInvoice](call); err == nil {
			t.Errorf("%s %s %s: decoded", call.Method, call.Path, call.Body)
		}
	}
}

func ExampleNewJob() {
	job, err := tasks.NewJob(sendInvoice{Invoice: 7, To: "a@example.com"}, tasks.Options{Key: "inv-7", Upstream: "mailer"})
	fmt.Println(job.Method, job.Path, string(job.Body), err)

	args, err := tasks.DecodeArgs[sendInvoice](job)
	fmt.Println(args.To, err)
	// Output:
	// JOB /invoice.send {"invoice":7,"to":"a@example.com"} <nil>
	// a@example.com <nil>
}
