package broker

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Decodable tells whether asynq can decode a task message, and whether it names
// the queue and the id under which it stands: asynq believes the message.
// asynq's generated code is not open to us, so the wire is walked by hand:
// protobuf refuses what is cut, and strings that are not UTF-8.
func Decodable(msg, queue, id string) bool {
	// Fields of asynq.TaskMessage that are strings (asynq.proto): type, id,
	// queue, error_msg, unique_key, group_key.
	text := map[protowire.Number]bool{1: true, 3: true, 4: true, 7: true, 10: true, 14: true}
	var gotID, gotQueue string
	for b := []byte(msg); len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		if size < 0 {
			return false
		}
		if text[num] {
			if typ != protowire.BytesType {
				return false
			}
			v, _ := protowire.ConsumeBytes(b[n:])
			if !utf8.Valid(v) {
				return false
			}
			switch num {
			case 3:
				gotID = string(v)
			case 4:
				gotQueue = string(v)
			}
		}
		b = b[n+size:]
	}
	return gotID == id && gotQueue == queue
}
