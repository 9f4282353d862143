package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestAnEncodedTaskEqualsTheOneOfAsynqsClient(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		encoder, err := NewEncoder()
		if err != nil {
			t.Fatal(err)
		}
		client := asynq.NewClientFromRedisClient(rdb)
		for i, payload := range [][]byte{nil, []byte("{}"), {0, 0xff}, bytes.Repeat([]byte("x"), 1<<16)} {
			id := fmt.Sprintf("id-%d", i)
			_, err := client.Enqueue(asynq.NewTask("kind", payload), asynq.Queue("q:high"), asynq.TaskID(id),
				asynq.MaxRetry(math.MaxInt32), asynq.Timeout(TaskTimeout))
			if err != nil {
				t.Fatal(err)
			}
			want := rdb.HGet(t.Context(), "asynq:{q:high}:t:"+id, "msg").Val()
			got, err := encoder.Encode(t.Context(), "q:high", id, "kind", payload, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.Data != want || got.ID != id || got.Queue != "q:high" {
				t.Errorf("payload %d: got %q, want asynq's %q", i, got.Data, want)
			}
			if !Decodable(got.Data, "q:high", id) {
				t.Errorf("payload %d: the encoded message is not decodable", i)
			}
		}
	})
}

func TestAnEncoderIsSafeForManyGoroutines(t *testing.T) {
	encoder, err := NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				id := fmt.Sprintf("%d-%d", g, i)
				m, err := encoder.Encode(context.Background(), "q", id, "kind", []byte(id), nil)
				if err != nil || !Decodable(m.Data, "q", id) {
					t.Errorf("%s: %v", id, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestATaskThatAsynqRefusesIsNotEncoded(t *testing.T) {
	encoder, err := NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"no kind":  second(encoder.Encode(t.Context(), "q", "id", "", nil, nil)),
		"no id":    second(encoder.Encode(t.Context(), "q", " ", "kind", nil, nil)),
		"no queue": second(encoder.Encode(t.Context(), "", "id", "kind", nil, nil)),
	} {
		if err == nil || errors.Is(err, ErrUnknownScript) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[A any](_ A, err error) error { return err }

func TestAnUnknownEnqueueScriptIsNoticed(t *testing.T) {
	var got captured
	ctx := context.WithValue(t.Context(), captureKey{}, &got)
	err := capture{}.EvalSha(ctx, "0123", nil, []byte("message")).Err()
	if !errors.Is(err, ErrUnknownScript) || !errors.Is(got.err, ErrUnknownScript) || !strings.Contains(err.Error(), "enqueue") {
		t.Fatalf("got %v, %v", err, got.err)
	}
}

// stored is a Redis that holds one task message, for asynq's own decoding.
type stored struct {
	redis.UniversalClient
	msg string
}

func (stored) SIsMember(ctx context.Context, _ string, _ any) *redis.BoolCmd {
	cmd := redis.NewBoolCmd(ctx)
	cmd.SetVal(true)
	return cmd
}

func (s stored) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetVal([]any{s.msg, "active", int64(0), ""})
	return cmd
}

// asynqDecodes returns what asynq decodes from a message.
func asynqDecodes(msg string) (queue, id string, ok bool) {
	info, err := asynq.NewInspectorFromRedisClient(stored{msg: msg}).GetTaskInfo("q", "id")
	if err != nil {
		return "", "", false
	}
	return info.Queue, info.ID, true
}

func field(num protowire.Number, value string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), value))
}

// messages are test messages for queue "q" and id "id", with whether asynq accepts
// them.
func messages(tb testing.TB) map[string]bool {
	encoder, err := NewEncoder()
	if err != nil {
		tb.Fatal(err)
	}
	m, err := encoder.Encode(tb.Context(), "q", "id", "kind", []byte("payload"), nil)
	if err != nil {
		tb.Fatal(err)
	}
	own := field(3, "id") + field(4, "q")
	header := field(1, "name") + field(2, "value")
	return map[string]bool{
		m.Data:                                  true,
		own:                                     true,
		own + field(15, header):                 true,
		own + field(99, "of a newer asynq"):     true,
		own + field(4, "other") + field(4, "q"): true, // the last one counts
		"":                                      false,
		"garbage":                               false,
		m.Data[:len(m.Data)-1]:                  false,
		m.Data[:len(m.Data)/2]:                  false,
		field(3, "another id") + field(4, "q"):  false,
		field(3, "id") + field(4, "another queue"):   false,
		own + field(4, "another queue"):              false,
		own + field(1, "\xff"):                       false,
		own + field(7, "a\xc3\x28"):                  false, // the last error's text
		own + field(15, field(1, "\xff")):            false, // a header's name
		own + field(15, "\xff"):                      false,
		own + "\x00":                                 false, // field 0
		own + "\x0c":                                 false, // an end of a group without its start
		own + "\x80\x80\x80\x80\x80\x80\x80\x80\x80": false,
		own + string(protowire.AppendTag(nil, 1<<29-1, protowire.BytesType)) + "\x05": false,
	}
}

func TestDecodableAgreesWithAsynq(t *testing.T) {
	for msg, want := range messages(t) {
		if got := Decodable(msg, "q", "id"); got != want {
			t.Errorf("Decodable(%q): got %v", msg, got)
		}
		queue, id, ok := asynqDecodes(msg)
		if got := ok && queue == "q" && id == "id"; got != want {
			t.Errorf("asynq on %q: got %v", msg, got)
		}
	}
}

func FuzzDecodable(f *testing.F) {
	for msg := range messages(f) {
		f.Add(msg, "q", "id")
	}
	f.Fuzz(func(t *testing.T, msg, queue, id string) {
		gotQueue, gotID, ok := asynqDecodes(msg)
		if want := ok && gotQueue == queue && gotID == id; Decodable(msg, queue, id) != want {
			t.Fatalf("Decodable: got %v, but asynq reads queue %q, id %q, %v", !want, gotQueue, gotID, ok)
		}
		if ok && !Decodable(msg, gotQueue, gotID) {
			t.Fatal("the message is not decodable under its own queue and id")
		}
	})
}

func TestLastErrorTailSetsAMessagesLastError(t *testing.T) {
	e, err := NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	msg, err := e.Encode(t.Context(), "q", "id", "call", []byte("payload"), nil)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_800_000_000, 0)
	for _, text := range []string{"first", "and \xff again"} {
		tail, err := LastErrorTail(text, at)
		if err != nil {
			t.Fatal(err)
		}
		// A task can be archived, run and archived again.
		msg.Data += tail
		if !Decodable(msg.Data, "q", "id") {
			t.Fatalf("after %q the message cannot be decoded", text)
		}
		want := strings.ToValidUTF8(text, "\uFFFD")
		if got := LastError(msg.Data); got != want {
			t.Errorf("got last error %q, want %q", got, want)
		}
	}
}
