package fleettest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// poisonedRedis is the environment variable with the URL of the Redis. A process of these
// tests that has it runs [TestPoisonedWorker].
const poisonedRedis = "CALLQ_TEST_POISON"

// poison is a job that kills its worker's process.
type poison struct{}

func (poison) Kind() string { return "poison" }

// food is a job that succeeds.
type food struct{}

func (food) Kind() string { return "food" }

// TestPoisonedWorker is not a test: it is the process of a worker with a job that kills it,
// as a job that runs out of memory would.
func TestPoisonedWorker(t *testing.T) {
	url := os.Getenv(poisonedRedis)
	if url == "" {
		t.Skip("another test runs this as a child process")
	}
	conn, err := redisconn.Open(t.Context(), url, redisconn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.New(worker.Config{
		Redis: conn.Client, Upstreams: []worker.Upstream{{Name: upstream, Policy: callqtest.Fast(t)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = worker.Handle(w, upstream, func(context.Context, *worker.Job[poison]) (string, error) {
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		return "", err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = worker.Handle(w, upstream, func(context.Context, *worker.Job[food]) (string, error) { return "eaten", nil })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout) // its parent may have ended
	defer cancel()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// poisoned starts the process. It is killed at the end of the test.
func poisoned(t *testing.T, server *redistest.Server) (cmd *exec.Cmd, ended chan struct{}) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "-test.run=^TestPoisonedWorker$")
	cmd.Env = append(os.Environ(), poisonedRedis+"="+server.URL, "GORACE=atexit_sleep_ms=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended = make(chan struct{})
	go func() {
		_ = cmd.Wait() // the test checks its ProcessState
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	return cmd, ended
}

// asynq puts a task back each time its worker dies, without counting retries:
// with only asynq, such a job would kill one worker after another without end.
func TestAJobThatKillsItsWorkerEndsAsACrashLoop(t *testing.T) {
	server := redistest.Redis(t)
	producer, err := tasks.NewProducer(server.Client, tasks.ProducerConfig{Rules: tasks.Rules{AllowJobs: true}})
	if err != nil {
		t.Fatal(err)
	}
	l := ledger.New(server.Client)
	enqueue := func(args tasks.Args, key string) tasks.Receipt {
		t.Helper()
		job, err := tasks.NewJob(args, tasks.Options{Upstream: upstream, Batch: "b", Key: key})
		if err != nil {
			t.Fatal(err)
		}
		r, err := producer.Submit(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	bad := enqueue(poison{}, "bad")
	const kills = 5 // at the last of them no other call is made
	for kill := 1; kill <= kills; kill++ {
		cmd, ended := poisoned(t, server)
		select {
		case <-ended:
		case <-time.After(waitTimeout):
			t.Fatalf("start %d of the job did not kill its worker", kill)
		}
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			t.Fatalf("worker %d ended by %s", kill, cmd.ProcessState)
		}
		r, err := l.Find(t.Context(), bad.ID)
		if err != nil || r.State != ledger.Open || r.Starts != kill {
			t.Fatalf("after kill %d the job is %s with %d starts, %v", kill, r.State, r.Starts, err)
		}
		// Workers wait until the lease ends; the test does not.
		if n, err := ledger.NewLeases(server.Client).End(t.Context()); n != 1 || err != nil {
			t.Fatalf("the job has %d leases that could end, %v", n, err)
		}
	}
	good := enqueue(food{}, "good")
	_, ended := poisoned(t, server)
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	follow, err := tasks.NewClient(server.Client, tasks.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	result, err := follow.Wait(ctx, bad.ID)
	if err != nil || result.State != tasks.StateDead || result.Class != string(policy.ClassCrashLoop) || result.Attempts != 0 || result.Advice == "" ||
		!strings.Contains(result.ErrorMessage, "5 workers") {
		t.Errorf("got %+v, %v, want the job dead as crash_loop after 5 workers", result, err)
	}
	if result, err = follow.Wait(ctx, good.ID); err != nil || result.State != tasks.StateDone {
		t.Errorf("got %+v, %v, want the other job done", result, err)
	}
	select {
	case <-ended:
		t.Error("the last worker was killed too")
	default:
	}
	findings, err := l.Audit(t.Context(), "b", tasks.TaskID)
	if err != nil || len(findings) != 0 {
		t.Errorf("audit: got %+v, %v, want nothing", findings, err)
	}
}
