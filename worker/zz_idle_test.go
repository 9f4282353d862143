package worker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/broker/brokertest"
	"github.com/seed-2903acc3/callq/worker"
)

func TestZZIdle(t *testing.T) {
	srv := brokertest.Redis(t)
	p, _ := policy.Preset("patsnap")
	var ups []worker.Upstream
	for i := range 50 {
		ups = append(ups, worker.Upstream{Name: fmt.Sprintf("u%d", i), Policy: p})
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 8)
	for range 8 {
		conn, err := broker.Open(ctx, srv.URL, broker.Options{PoolSize: 128})
		if err != nil { t.Fatal(err) }
		defer conn.Close()
		w, err := worker.New(worker.Config{Redis: conn.Client, Upstreams: ups})
		if err != nil { t.Fatal(err) }
		go func() { done <- w.Run(ctx) }()
	}
	<-time.After(10*time.Second)
	cpu := func() string { s, _ := srv.Client.Info(ctx, "cpu").Result(); return s }
	srv.Client.ConfigResetStat(ctx)
	fmt.Println(cpu())
	<-time.After(20*time.Second)
	fmt.Println(cpu())
	s, _ := srv.Client.Info(ctx, "commandstats").Result()
	for _, l := range strings.Split(s, "\n") { if strings.Contains(l, "evalsha") || strings.Contains(l,"hgetall")|| strings.Contains(l,"zrange")|| strings.Contains(l,"expire")|| strings.Contains(l,"hset") || strings.Contains(l,"eval"){ fmt.Println(l) } }
	cancel()
	for range 8 { <-done }
}
