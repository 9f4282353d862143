package circuit

import (
	"slices"
	"time"
)

// Outage says where an outage was just detected; the zero value is no outage.
type Outage struct {
	// Account reports that the whole account fails.
	Account bool
	// Endpoints are those that fail while others of the account succeed.
	Endpoints []string
}

// maxEndpoints bounds how many endpoints a process remembers.
const maxEndpoints = 512

// endpoints counts the results of one process's calls for each endpoint, to find out
// where an outage is.
type endpoints struct {
	detector Detector
	tallies  map[string]*tally
	others   tally // the sum of the endpoints that have no tally of their own
}

// tally counts the calls of one endpoint within the detector's window, in slices
// of a tenth of it.
type tally struct {
	slices [10]struct{ good, bad int }
	slice  int64 // number of the newest slice since 1970
	goodAt time.Time
}

// sum returns the counts of the window that ends with the given slice.
func (t *tally) sum(slice int64) (good, bad int) {
	t.turn(slice)
	for _, s := range t.slices {
		good, bad = good+s.good, bad+s.bad
	}
	return good, bad
}

// turn forgets the slices that have left the window.
func (t *tally) turn(slice int64) {
	for n := min(slice-t.slice, int64(len(t.slices))); n > 0; n-- {
		t.slices[(slice-n+1)%int64(len(t.slices))] = struct{ good, bad int }{}
	}
	t.slice = max(t.slice, slice)
}

func (e *endpoints) now() int64 {
	return time.Now().UnixNano() / max(int64(e.detector.Window)/10, 1)
}

// count counts a call's result.
func (e *endpoints) count(endpoint string, r Result) {
	if r != Healthy && r != Failed {
		return
	}
	slice := e.now()
	t := e.tallies[endpoint]
	if t == nil {
		t = &tally{slice: slice}
		e.makeRoom(slice)
		e.tallies[endpoint] = t
	}
	t.turn(slice)
	newest := &t.slices[t.slice%int64(len(t.slices))]
	if r == Healthy {
		newest.good++
		t.goodAt = time.Now()
	} else {
		newest.bad++
	}
}

// makeRoom merges tallies into others where there are too many: first those without a
// failed call.
func (e *endpoints) makeRoom(slice int64) {
	if len(e.tallies) < maxEndpoints {
		return
	}
	for _, failing := range []bool{false, true} {
		for name, t := range e.tallies {
			if _, bad := t.sum(slice); bad == 0 || failing {
				e.others.add(t, slice)
				delete(e.tallies, name)
			}
		}
		if len(e.tallies) < maxEndpoints {
			return
		}
	}
}

// add adds the counts of another tally.
func (t *tally) add(other *tally, slice int64) {
	t.turn(slice)
	other.turn(slice)
	for i, s := range other.slices {
		t.slices[i].good += s.good
		t.slices[i].bad += s.bad
	}
}

// fails reports whether such counts are an outage.
func (d Detector) fails(good, bad int) bool {
	return bad > 0 && float64(bad) >= d.Ratio*float64(good+bad)
}

// locate finds out where the outage is, after a call of the endpoint has failed. account
// reports that too many of all the account's calls fail.
func (e *endpoints) locate(endpoint string, account bool) Outage {
	if e.detector.MinCalls <= 0 {
		return Outage{Account: account}
	}
	slice := e.now()
	var failing []string
	restGood, restBad := e.others.sum(slice)
	healthy := restGood > 0 && !e.detector.fails(restGood, restBad)
	for name, t := range e.tallies {
		good, bad := t.sum(slice)
		switch {
		// Half of MinCalls is enough evidence if the account as a whole fails already.
		case account && 2*bad >= e.detector.MinCalls && e.detector.fails(good, bad):
			failing = append(failing, name)
		case !account && name == endpoint && good+bad >= e.detector.MinCalls && e.detector.fails(good, bad):
			failing = append(failing, name)
		default:
			healthy = healthy || good > 0 && !e.detector.fails(good, bad)
			restGood, restBad = restGood+good, restBad+bad
		}
	}
	if healthy && len(failing) > 0 && !e.detector.fails(restGood, restBad) {
		slices.Sort(failing)
		return Outage{Endpoints: failing}
	}
	return Outage{Account: account}
}
