package worker

import "context"

// probeRotated has the probes of those accounts go out at once whose circuit is
// open for a credential, or for something else that a person mends, and whose
// credential has changed since it was looked at last: after that nobody is to wait
// for the next rung of the ladder, nor to close the circuit.
func (w *Worker) probeRotated(ctx context.Context) error {
	for name, a := range w.accounts {
		if a.client == nil {
			continue
		}
		mark, ok := a.client.Fingerprint()
		if !ok || mark == a.credential {
			continue
		}
		ended, err := w.circuits.EndHold(ctx, w.circuits.Cached(name))
		if err != nil {
			return err // it is still to be noticed when Redis is back
		}
		a.credential = mark
		if ended {
			w.log.Info("the credential has changed: one call finds out whether the API takes it", "circuit", name)
		}
	}
	return nil
}
