package upstream

import "hash/maphash"

// seed makes marks worthless outside this process.
var seed = maphash.MakeSeed()

// Mark is a fingerprint of what the upstream is told to identify itself with: the
// credential, and the files under TLS, as they are now. Another mark means that
// somebody has changed one of them. It says nothing about them, and means nothing
// in another process. ok is false in the midst of a rotation, when a file is
// missing. Mark may read files. It is safe for concurrent use.
func (c *Client) Mark() (mark uint64, ok bool) {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, s := range c.cfg.Auth.kind().secrets() {
		value, _ := s.Value() // one that was not given has none, one that was read keeps the last
		maphash.WriteComparable(&h, value)
	}
	for _, path := range []string{c.cfg.TLS.CA, c.cfg.TLS.Cert, c.cfg.TLS.Key} {
		if path == "" {
			continue
		}
		m, err := markOf(path)
		if err != nil {
			return 0, false
		}
		maphash.WriteComparable(&h, m.info.ModTime().UnixNano())
		maphash.WriteComparable(&h, m.info.Size())
	}
	return h.Sum64(), true
}
