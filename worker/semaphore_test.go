package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnAccountWithoutInflightCallsAlwaysGetsAPermit(t *testing.T) {
	s, busy, other := newSemaphore(2), &account{}, &account{}
	for range 2 {
		s.acquire(busy, nil, 0)
	}
	if !s.acquire(other, nil, 0) {
		t.Error("an account that makes no call had to wait for one that makes two")
	}
	if s.acquire(other, nil, 0) {
		t.Error("an account got a second permit though none is free")
	}
}

func TestAFreePermitGoesToTheAccountWithTheFewestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, busy, other := newSemaphore(4), &account{}, &account{}
		for range 4 {
			s.acquire(busy, nil, 0)
		}
		s.acquire(other, nil, 0)
		granted := make(chan *account, 2)
		for _, a := range []*account{busy, other} {
			go func() {
				if s.acquire(a, nil, time.Hour) {
					granted <- a
				}
			}()
			synctest.Wait() // busy has waited longer
		}
		s.release(busy) // five calls were in progress: this frees none
		synctest.Wait()
		if len(granted) != 0 {
			t.Fatal("a permit was granted though four calls are in flight")
		}
		s.release(busy)
		if first := <-granted; first != other {
			t.Error("the permit went to the account with more calls in flight")
		}
		s.release(busy)
		if second := <-granted; second != busy {
			t.Error("the second permit did not go to the other account")
		}
	})
}

func TestADrainEndsTheWaitForAPermit(t *testing.T) {
	s, a, draining := newSemaphore(1), &account{}, make(chan struct{})
	s.acquire(a, draining, 0)
	time.AfterFunc(10*time.Millisecond, func() { close(draining) })
	if s.acquire(a, draining, time.Hour) {
		t.Error("a permit was granted to a worker that drains")
	}
}

func TestACallThatIsMadeAloneWaitsForTheOthersAndHoldsNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := newSemaphore(4), &account{concurrency: 4}
		for range 3 {
			s.acquire(a, nil, 0)
		}
		alone := make(chan func(), 2)
		aside := func(ctx context.Context) {
			if leave, only, ok := s.acquireAlone(ctx, nil, time.Hour); ok && only {
				alone <- leave
			}
		}
		go aside(t.Context())
		synctest.Wait()
		if len(alone) != 0 || s.acquireMore(a, 3) != 0 || s.acquire(a, nil, 0) {
			t.Fatal("it did not wait for the others, or another began")
		}
		go aside(t.Context())
		synctest.Wait()
		s.release(a) // the one that is to have company
		synctest.Wait()
		if len(alone) != 1 {
			t.Fatalf("%d calls are alone, want one", len(alone))
		}
		next := make(chan bool)
		go func() { next <- s.acquire(a, nil, time.Hour) }()
		synctest.Wait()
		(<-alone)()
		synctest.Wait()
		if len(alone) != 0 {
			t.Fatal("the second one did not wait until the first one had ended")
		}
		s.release(a)
		synctest.Wait()
		gone, cancel := context.WithCancel(t.Context())
		go aside(gone) // gives up while it waits
		synctest.Wait()
		cancel()
		synctest.Wait()
		(<-alone)()
		if !<-next {
			t.Fatal("the calls that waited did not continue")
		}
	})
}

func TestACallThatIsMadeAloneDoesNotWaitForAJobThatTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := newSemaphore(4), &account{concurrency: 4}
		for range 2 {
			s.acquire(a, nil, 0)
		}
		leave, alone, ok := s.acquireAlone(t.Context(), nil, time.Minute)
		if alone || !ok {
			t.Fatalf("alone %t, ok %t", alone, ok)
		}
		synctest.Wait()
		if !s.acquire(a, nil, 0) {
			t.Error("the others do not continue")
		}
		leave()
	})
}
