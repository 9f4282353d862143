package upstream

import "hash/maphash"

// fingerprintSeed is random, so that a fingerprint is useless outside this process.
var fingerprintSeed = maphash.MakeSeed()

// Fingerprint returns a hash of the current credential and TLS files. If it has changed,
// the credential or one of the files has changed. The value does not reveal them and has
// no meaning in another process. ok is false if a TLS file is missing, as during a
// rotation. Fingerprint may read files. It is safe for concurrent use.
func (c *Client) Fingerprint() (fingerprint uint64, ok bool) {
	var h maphash.Hash
	h.SetSeed(fingerprintSeed)
	for _, s := range c.cfg.Auth.kind().secrets() {
		value, _ := s.Value() // empty if there is none; a file that is missing now keeps its last value
		maphash.WriteComparable(&h, value)
	}
	for _, path := range []string{c.cfg.TLS.CA, c.cfg.TLS.Cert, c.cfg.TLS.Key} {
		if path == "" {
			continue
		}
		m, err := stampOf(path)
		if err != nil {
			return 0, false
		}
		maphash.WriteComparable(&h, m.info.ModTime().UnixNano())
		maphash.WriteComparable(&h, m.info.Size())
	}
	return h.Sum64(), true
}
