package notify

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/quick"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func TestASignatureIsThatOfTheStandardsOwnExample(t *testing.T) {
	keys, err := keysOf("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	// From the tests of the standard's own libraries.
	got := sign(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAnotherImplementationVerifiesTheSignatureOfEachKey(t *testing.T) {
	property := func(first, second [32]byte, body []byte, n uint32) bool {
		secrets := []string{"whsec_" + base64.StdEncoding.EncodeToString(first[:]), "whsec_" + base64.StdEncoding.EncodeToString(second[:])}
		keys, err := keysOf(strings.Join(secrets, " "))
		if err != nil || len(keys) != 2 {
			return false
		}
		id, at := idOf("a", n), time.Now()
		header := http.Header{}
		header.Set(headerID, id)
		header.Set(headerTimestamp, fmt.Sprint(at.Unix()))
		header.Set(headerSignature, sign(keys, id, at, body))
		for _, secret := range secrets {
			hook, err := standardwebhooks.NewWebhook(secret)
			if err != nil || hook.Verify(body, header) != nil || hook.Verify(append(body, 'x'), header) == nil {
				return false
			}
		}
		return true
	}
	if err := quick.Check(property, nil); err != nil {
		t.Error(err)
	}
}

func TestTheErrorOfASecretDoesNotShowIt(t *testing.T) {
	for _, secret := range []string{"", " ", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_not*base64*not*base64*not*base64", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_bad"} {
		err := CheckSecret(secret)
		if err == nil {
			t.Errorf("%q is accepted", secret)
			continue
		}
		for _, part := range []string{"c2hvcnQ", "MfKQ9r8", "not*base64", "whsec_bad"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("the error of %q shows it: %v", secret, err)
			}
		}
	}
}
