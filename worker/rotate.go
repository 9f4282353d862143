package worker

import "context"

// probeRotated ends the hold of accounts whose credential has changed since the last check,
// and whose circuit is open for a credential or something else that only a person can fix.
// So the probe is sent at once, and no person has to close the circuit.
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
			return err // a.credential is unchanged, so the next check tries again
		}
		a.credential = mark
		if ended {
			w.log.Info("the credential has changed: one call tests whether the API accepts it", "circuit", name)
		}
	}
	return nil
}
