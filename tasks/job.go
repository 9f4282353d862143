package tasks

import (
	"encoding/json"
	"fmt"
	"time"
)

// MethodJob is the method of a job: in a stored call, a result line, an endpoint pattern ("JOB /invoice.send").
const MethodJob = "JOB"

// Args are a job's typed arguments. They are stored as JSON. Kind is the permanent name
// of the job and does not depend on the value: it is also called on a zero value, which
// for a pointer type is nil. It is 1 to 128 letters, digits, "_", "-", ".", ":" and
// begins with a letter or a digit.
type Args interface{ Kind() string }

// Options say how a job is queued. The fields mean the same as in [Call]; the zero
// value is a job of normal priority, due now, whose upstream's configuration says
// whether it is idempotent.
type Options struct {
	Key        string
	Batch      string
	Upstream   string
	Priority   Priority
	Idempotent *bool
	NotBefore  *time.Time
	Deadline   *time.Time
}

// NewJob returns the call for a job, still to be checked by [Rules.Check] with
// AllowJobs. It fails if the arguments cannot be written as JSON, or, with a
// [*FieldError], if the kind is not valid.
func NewJob[A Args](args A, o Options) (Call, error) {
	kind := args.Kind()
	if !validKind(kind) {
		return Call{}, badKind(kind)
	}
	body, err := json.Marshal(args)
	if err != nil {
		return Call{}, fmt.Errorf("arguments of job %s: %w", kind, err)
	}
	return Call{
		Key: o.Key, Batch: o.Batch, Upstream: o.Upstream, Method: MethodJob, Path: "/" + kind, Body: body,
		Priority: o.Priority, Idempotent: o.Idempotent, NotBefore: o.NotBefore, Deadline: o.Deadline,
	}, nil
}

// Job returns the kind and the arguments of a job; ok is false if c is an HTTP call.
func (c Call) Job() (kind string, args json.RawMessage, ok bool) {
	if c.Method != MethodJob || len(c.Path) < 2 {
		return "", nil, false
	}
	return c.Path[1:], c.Body, true
}

// DecodeArgs returns a job's arguments as their type. It fails if c is not a job, is a
// job of another kind, or has arguments that do not fit the type.
func DecodeArgs[A Args](c Call) (A, error) {
	var args A
	kind, raw, ok := c.Job()
	if !ok {
		return args, fmt.Errorf("%s %s is an HTTP call, not a job", c.Method, c.Path)
	}
	if want := args.Kind(); kind != want {
		return args, fmt.Errorf("the job is of kind %q, not %q", kind, want)
	}
	if raw == nil {
		return args, nil
	}
	if err := json.Unmarshal(raw, &args); err != nil {
		return args, fmt.Errorf("arguments of job %s: %w", kind, err)
	}
	return args, nil
}

func validKind(kind string) bool {
	if kind == "" || len(kind) > 128 {
		return false
	}
	for i := range len(kind) {
		b := kind[i]
		letter := 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
		if !letter && (i == 0 || b != '_' && b != '-' && b != '.' && b != ':') {
			return false
		}
	}
	return true
}

func badKind(kind string) *FieldError {
	return &FieldError{
		Field: "path", Problem: fmt.Sprintf("%s is not a valid kind of job", shown(kind)),
		Fix: `a kind is 1 to 128 letters, digits, "_", "-", "." or ":" and begins with a letter or a digit`,
	}
}
