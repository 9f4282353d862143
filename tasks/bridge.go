package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/internal/bridge"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// Workers and doctor use the ledger's records, which the stable API of this package
// does not show; see package records.
func init() {
	bridge.Call = func(r *ledger.Record) (any, error) { return callOf(r) }
	bridge.Content = func(c any) ([]byte, error) { return contentOf(c.(Call)) }
	bridge.Result = func(r ledger.Record) any { return resultOf(r) }
	bridge.Task = taskOf
}

// taskOf returns asynq's encoding of the task of a call, and the call's deadline, or
// the zero time.
func taskOf(ctx context.Context, encoder *broker.Encoder, r ledger.Record) (message string, deadline time.Time, err error) {
	c, err := callOf(&r)
	if err != nil {
		return "", time.Time{}, err
	}
	message, err = encodeTask(ctx, encoder, r.Queue, r.ID, c, nil)
	return message, c.deadline(), err
}

// encodeTask returns asynq's own encoding of a call's task. Its payload is only shown
// to people in asynqmon; workers read the ledger's record. headers, which may be nil, carry
// the producer's span.
func encodeTask(ctx context.Context, encoder *broker.Encoder, queue, id string, c Call, headers map[string]string) (string, error) {
	kind := TaskKind
	if job, _, ok := c.Job(); ok {
		kind = "job:" + job
	}
	path, _, _ := strings.Cut(c.Path, "?")
	payload, err := json.Marshal(struct {
		V     int    `json:"v"`
		Call  string `json:"call"`
		Key   string `json:"key"`
		Batch string `json:"batch"`
	}{1, c.Method + " " + path, c.Key, c.Batch})
	if err != nil {
		return "", fmt.Errorf("encode the payload of call %s: %w", id, err)
	}
	m, err := encoder.Encode(ctx, queue, id, kind, payload, headers)
	return m.Data, err
}

// resultOf returns a record as a line of a results file.
func resultOf(r ledger.Record) Result {
	res := Result{
		Key: r.Key, ID: r.ID, Batch: r.Batch, Upstream: UpstreamOf(r.Queue), State: State(r.State), Digest: r.Hash,
		FinishedAt: r.EndedAt, Attempts: r.Attempts, Parked: r.Parked, FirstAt: r.FirstAt,
	}
	if c, err := callOf(&r); err == nil {
		res.Method, res.Path, res.Meta = c.Method, c.Path, c.Meta
	}
	res.BodyFreed = r.Freed
	encoding := ""
	if e := r.Ending; e != nil {
		res.Class, res.Rule, res.HTTPStatus = e.Class, e.Rule, e.HTTPStatus
		res.ErrorCode, res.ErrorMessage = json.Number(e.Code), e.Message
		res.UserMessage, res.Advice, res.CorrelationID = e.UserMessage, e.Advice, e.CorrelationID
		res.Amount, res.Headers = decimalOf(e.Amount), e.Headers
		encoding, res.Verified = e.BodyEncoding, e.Verified
	}
	if encoding != "" {
		res.Body = EncodedBody(r.Body, r.BodyType, encoding)
	} else {
		res.Body = ResultBody(r.Body, r.BodyType)
	}
	return res
}
