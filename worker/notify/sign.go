package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	secretPrefix = "whsec_"
	// A secret of Standard Webhooks has 24 to 64 bytes.
	leastSecret, mostSecret = 24, 64
)

// keysOf reads a secret of Standard Webhooks: whsec_ and the bytes in base64. While a secret
// is replaced there may be two, separated by a space. The error does not show the secret.
func keysOf(secret string) (keys [][]byte, err error) {
	for _, one := range strings.Fields(secret) {
		text, ok := strings.CutPrefix(one, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil || len(key) < leastSecret || len(key) > mostSecret {
			return nil, errors.New("is not a secret of Standard Webhooks: whsec_ and 24 to 64 random bytes in base64; make one with: echo whsec_$(openssl rand -base64 32)")
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("is empty; make a secret with: echo whsec_$(openssl rand -base64 32)")
	}
	return keys, nil
}

// CheckSecret checks a secret. Its error does not show it.
func CheckSecret(secret string) error {
	_, err := keysOf(secret)
	return err
}

// sign returns the value of the header webhook-signature: one signature for each key.
func sign(keys [][]byte, id string, at time.Time, body []byte) string {
	var signatures []string
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%d.", id, at.Unix())
		mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(signatures, " ")
}
