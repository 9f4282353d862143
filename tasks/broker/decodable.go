package broker

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/hibiken/asynq" // registers its messages
)

// taskMessage is asynq's own message type, which is internal to its package; but every
// protobuf message of a binary is registered under its name.
var taskMessage, taskMessageErr = findTaskMessage()

type messageType struct {
	protoreflect.MessageType
	id, queue, lastError, lastFailed protoreflect.FieldDescriptor
}

func findTaskMessage() (messageType, error) {
	mt, err := protoregistry.GlobalTypes.FindMessageByName("asynq.TaskMessage")
	if err != nil {
		return messageType{}, err
	}
	fields := mt.Descriptor().Fields()
	m := messageType{mt, fields.ByName("id"), fields.ByName("queue"), fields.ByName("error_msg"), fields.ByName("last_failed_at")}
	if m.id == nil || m.queue == nil || m.lastError == nil || m.lastFailed == nil {
		return messageType{}, errors.New("asynq's task message has no id, no queue, no last error or no time of the last error")
	}
	return m, nil
}

func unreadableMessages() error {
	return fmt.Errorf("%w: the messages of asynq %s cannot be read: %w", ErrUnknownScript, asynqVersion(), taskMessageErr)
}

// Decodable reports whether asynq can decode a task message, and whether the message
// names the queue and the id under which the task is stored: asynq uses those of the
// message. It is asynq's own decoding, which fails for other bytes, a truncated
// message, and text that is not UTF-8.
func Decodable(msg, queue, id string) bool {
	if taskMessageErr != nil {
		return false // NewEncoder has returned that error
	}
	m := taskMessage.New()
	if err := proto.Unmarshal([]byte(msg), m.Interface()); err != nil {
		return false
	}
	return m.Get(taskMessage.id).String() == id && m.Get(taskMessage.queue).String() == queue
}

// LastError is the text of the error with which asynq last archived or retried the
// task; empty if it never did, and for a message that is not [Decodable].
func LastError(msg string) string {
	if taskMessageErr != nil {
		return ""
	}
	m := taskMessage.New()
	if err := proto.Unmarshal([]byte(msg), m.Interface()); err != nil {
		return ""
	}
	return m.Get(taskMessage.lastError).String()
}

// LastErrorTail returns bytes that, appended to a task message, set its last error and
// the time of that: if a message has a field twice, the later one counts. It is for a
// script that archives a task without having read its message.
func LastErrorTail(text string, at time.Time) (string, error) {
	if taskMessageErr != nil {
		return "", unreadableMessages()
	}
	m := taskMessage.New()
	m.Set(taskMessage.lastError, protoreflect.ValueOfString(strings.ToValidUTF8(text, "\uFFFD")))
	m.Set(taskMessage.lastFailed, protoreflect.ValueOfInt64(at.Unix()))
	tail, err := proto.Marshal(m.Interface())
	if err != nil {
		return "", fmt.Errorf("encode the last error of a task: %w", err)
	}
	return string(tail), nil
}
