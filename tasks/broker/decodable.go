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

// taskMessage is asynq's own message, which its package hides; but every
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
		return messageType{}, errors.New("asynq's task message has no id, no queue, no last error or no time of it")
	}
	return m, nil
}

func unreadableMessages() error {
	return fmt.Errorf("%w: the messages of asynq %s cannot be read: %w", ErrUnknownScript, asynqVersion(), taskMessageErr)
}

// Decodable tells whether asynq can decode a task message, and whether it names
// the queue and the id under which it stands: asynq believes the message. It is
// asynq's own decoding; garbage, a message that was cut, and text that is not
// UTF-8 fail it.
func Decodable(msg, queue, id string) bool {
	if taskMessageErr != nil {
		return false // start-up has failed with it
	}
	m := taskMessage.New()
	if err := proto.Unmarshal([]byte(msg), m.Interface()); err != nil {
		return false
	}
	return m.Get(taskMessage.id).String() == id && m.Get(taskMessage.queue).String() == queue
}

// LastError is the text of the error with which asynq put the task away last; empty
// where it never did, and for what is not [Decodable].
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

// LastErrorTail returns bytes that, added to the end of a task message, set its last
// error and the time of it: of a field that a message has twice, the later counts. It
// is for a script that archives a task without having read its message.
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
