package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/jsonform"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

var methodForm = regexp.MustCompile(`^[A-Za-z]+$`)

// knownMethods are the methods that are also recognised in lower case. Any other word in
// lower case may be the name of a file.
var knownMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// callInOne returns an error if the single argument was meant as a call, or as the beginning
// of one, and not as a file.
func callInOne(arg string) error {
	method, path, _ := strings.Cut(strings.TrimSpace(arg), " ")
	upper := strings.ToUpper(method)
	if !methodForm.MatchString(method) || method != upper && !slices.Contains(knownMethods, upper) {
		return nil
	}
	if _, err := os.Stat(arg); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if path = strings.TrimSpace(path); strings.HasPrefix(path, "/") {
		return fmt.Errorf("there is no file %q; for one call, write method and path as two arguments: callq send METHOD PATH", arg)
	}
	return fmt.Errorf("there is no file %q; for one call, add the path: callq send METHOD PATH", arg)
}

// call sends one call from the command line.
func (s *sending) call(ctx context.Context, method, path string, params []string) (err error) {
	c, err := s.callOf(method, path, params)
	if err != nil {
		return err
	}
	cfg, err := s.configured()
	if err != nil {
		return err
	}
	if s.dryRun {
		if c.Key == "" {
			c.Key = "new"
		}
		if c, err = rulesOf(requestsOf(cfg)).Check(c); err != nil {
			return err
		}
		if s.json {
			return s.printJSON(map[string]any{"dry_run": true, "accepted": 1, "batch": c.Batch, "upstream": c.Upstream})
		}
		_, err = fmt.Fprintf(s.stdout, "%s %s would be sent to %s\n", c.Method, console.Printable(c.Path), c.Upstream)
		return err
	}
	d, err := s.connect(ctx, cfg, "send", true, s.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	defer d.close(&err)
	// A call without a key is new and cannot have a result of another API.
	if s.batch != "" || s.key != "" {
		if err := s.checkAPIs(ctx, d, c.Batch); err != nil {
			return err
		}
	}
	receipt, err := d.producer.Submit(ctx, c)
	if err != nil {
		return err
	}
	if !s.wait {
		return s.receipt(receipt)
	}
	result, err := s.awaitCall(ctx, d, receipt)
	if err != nil {
		return errors.Join(err, fmt.Errorf("the call was sent; its id is %s", receipt.ID))
	}
	return s.result(result)
}

// awaitCall waits until a call has ended.
func (s *sending) awaitCall(ctx context.Context, d *backend, receipt tasks.Receipt) (result tasks.Result, err error) {
	bar := s.newProgress()
	defer bar.Close()
	err = s.waitFor(ctx, d, bar, receipt.Batch, func(*waiting.Reporter) (bool, error) {
		c, err := d.client.Call(ctx, receipt.ID)
		result = c.Result
		return result.State.Ended(), err
	})
	return result, err
}

func (s *sending) callOf(method, path string, params []string) (tasks.Call, error) {
	c := tasks.Call{
		Method: method, Path: path, Key: s.key, Batch: s.batch, Upstream: s.upstream, Priority: tasks.Priority(s.priority),
	}
	if !methodForm.MatchString(method) {
		return c, usageError("%q is not an HTTP method; write callq send FILE, or callq send METHOD PATH [name=value…]", method)
	}
	switch c.Priority {
	case "", tasks.PriorityHigh, tasks.PriorityNormal, tasks.PriorityLow:
	default:
		return c, usageError("--priority %q: write high, normal or low", s.priority)
	}
	if c.Batch == "" {
		c.Batch = tasks.DefaultBatch
	}
	query, err := parameters(params)
	c.Query = query
	return c, err
}

// parameters parses name=value arguments. A name that is given several times is a list.
func parameters(args []string) (tasks.Query, error) {
	if len(args) == 0 {
		return nil, nil
	}
	query := tasks.Query{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, usageError("%q is not a parameter; write name=value", arg)
		}
		switch before := query[name].(type) {
		case nil:
			query[name] = value
		case string:
			query[name] = []any{before, value}
		case []any:
			query[name] = append(before, value)
		}
	}
	return query, nil
}

func (s *sending) receipt(r tasks.Receipt) error {
	if s.json {
		return s.printJSON(jsonform.ReceiptOf(r))
	}
	what := "accepted"
	if r.Duplicate {
		what = "was in the queue already"
	}
	_, err := fmt.Fprintf(s.stdout, "call %s (batch %s, key %s) %s\n", r.ID, console.Printable(r.Batch), console.Printable(r.Key), what)
	return err
}

// result prints how the one call ended.
func (s *sending) result(r tasks.Result) error {
	var failed error
	switch r.State {
	case tasks.StateDead, tasks.StateDropped:
		failed = errFailedCalls
	}
	if s.json {
		return errors.Join(s.printJSON(r), failed)
	}
	text := fmt.Sprintf("call %s is %s after %s", r.ID, r.State, console.Plural(r.Attempts, "attempt"))
	if r.HTTPStatus != 0 {
		text += fmt.Sprintf(", HTTP status %d", r.HTTPStatus)
	}
	if _, err := fmt.Fprintln(s.stdout, text); err != nil {
		return err
	}
	if failed != nil {
		_, err := fmt.Fprintf(s.stdout, "%s\nnext: %s\nmore: %s\n", console.Printable(r.UserMessage), console.Printable(r.Advice), s.next("dead show "+r.ID))
		return errors.Join(err, failed)
	}
	if len(r.Body) == 0 {
		return nil
	}
	_, err := fmt.Fprintln(s.stdout, console.Printable(string(r.Body)))
	return err
}
