package redistest

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/hibiken/asynq" // registers its messages
)

// Heartbeat writes what asynq writes for a worker that takes the tasks of queues, valid
// for a day.
func Heartbeat(t testing.TB, client redis.UniversalClient, worker string, queues ...string) {
	t.Helper()
	mt, err := protoregistry.GlobalTypes.FindMessageByName("asynq.ServerInfo")
	if err != nil {
		t.Fatal(err)
	}
	m := mt.New()
	weights := m.Mutable(mt.Descriptor().Fields().ByName("queues")).Map()
	for _, queue := range queues {
		weights.Set(protoreflect.ValueOfString(queue).MapKey(), protoreflect.ValueOfInt32(1))
	}
	info, err := proto.Marshal(m.Interface())
	if err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprintf("asynq:servers:{%s:1:id}", worker)
	if err := client.Set(t.Context(), key, info, 0).Err(); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(24 * time.Hour).Unix()
	if err := client.ZAdd(t.Context(), "asynq:servers", redis.Z{Score: float64(until), Member: key}).Err(); err != nil {
		t.Fatal(err)
	}
}
