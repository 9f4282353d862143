package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fake is an instance that ends when it receives from end.
type fake struct {
	name string
	end  chan error
	took time.Duration // to drain
}

func (f *fake) Run(ctx context.Context) error {
	select {
	case err := <-f.end:
		return err
	case <-ctx.Done():
		time.Sleep(f.took)
		return nil
	}
}

// scene is a supervisor whose next instance is next, with its reports.
type scene struct {
	*Supervisor[*fake]
	next  *fake
	fails error

	mu       sync.Mutex
	reported []string
}

func (s *scene) report(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reported = append(s.reported, fmt.Sprintf(format, args...))
}

func (s *scene) reports() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reported)
}

func newScene(ctx context.Context, first *fake) *scene {
	s := &scene{}
	s.Supervisor = Start(ctx, first, Config[*fake]{
		Load: func(context.Context, *fake) (*fake, error) { return s.next, s.fails },
		Installed: func(_ context.Context, before, now *fake) {
			if before != nil {
				s.report("%s -> %s", before.name, now.name)
			}
		},
		Refused: func(err error) { s.report("refused: %v", err) },
		Drained: func(old *fake, err error) { s.report("%s drained: %v", old.name, err) },
	})
	return s
}

func newFake(name string) *fake { return &fake{name: name, end: make(chan error, 1)} }

func TestTheNewInstanceRunsBeforeTheOldOneDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newScene(ctx, &fake{name: "old", end: make(chan error, 1), took: time.Minute})
		s.next = newFake("new")
		s.Reload(ctx)
		if s.Current() != s.next || !slices.Equal(s.reports(), []string{"old -> new"}) {
			t.Fatalf("got %s as the current instance and the reports %q", s.Current().name, s.reports())
		}
		began := time.Now()
		s.Wait()
		if waited := time.Since(began); waited != time.Minute {
			t.Errorf("Wait waited %s for the old instance, want a minute", waited)
		}
		cancel()
		if err := <-s.Ended(); err != nil {
			t.Error(err)
		}
	})
}

func TestTheOldInstanceStaysIfTheNewOneFails(t *testing.T) {
	for want, c := range map[string]struct {
		load, run error
		ends      bool
	}{
		"refused: callq.yaml:1:1: wrong":        {load: errors.New("callq.yaml:1:1: wrong")},
		"refused: no Redis":                     {run: errors.New("no Redis"), ends: true},
		"refused: the new worker ended at once": {ends: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			old := newFake("old")
			s := newScene(ctx, old)
			s.next, s.fails = newFake("new"), c.load
			if c.ends {
				s.next.end <- c.run
			}
			s.Reload(ctx)
			if s.Current() != old || !slices.Equal(s.reports(), []string{want}) {
				t.Errorf("got %s as the current instance and the reports %q, want %q", s.Current().name, s.reports(), want)
			}
			select {
			case err := <-s.Ended():
				t.Errorf("the old instance has ended: %v", err)
			default:
			}
			cancel()
			<-s.Ended()
		})
	}
}

func TestAReloadDuringADrainChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		old := newFake("old")
		s := newScene(ctx, old)
		s.next = newFake("new")
		time.AfterFunc(probation/2, cancel)
		s.Reload(ctx) // both run when the drain begins
		s.Wait()
		s.Reload(ctx)
		if s.Current() != old || !slices.Equal(s.reports(), []string{"new drained: <nil>"}) {
			t.Errorf("got %s as the current instance and the reports %q", s.Current().name, s.reports())
		}
		if err := <-s.Ended(); err != nil {
			t.Error(err)
		}
	})
}
