package draft

import (
	"regexp"

	"github.com/seed-2903acc3/callq/policy"
)

// suggestion is what the words of an answer suggest.
type suggestion struct {
	words *regexp.Regexp
	class policy.Class
	// says is the end of the sentence "The words suggest that …".
	says string
	// decision is the rule's decision, as YAML lines.
	decision []string
}

// suggestions are tried in order.
var suggestions = []suggestion{
	{
		regexp.MustCompile(`(?i)insufficient.{0,5}(quota|fund|balance|credit)|out of (money|credit|funds)|out[_-]of[_-](money|credit)|no.{0,12}(money|credits?\b)|balance|billing|payment`),
		policy.ClassBalance, "the account has run out of money",
		[]string{"class: balance", "job: dead_letter", "circuit: {effect: open, hold: credential, after: 3}"},
	},
	{
		regexp.MustCompile(`(?i)rate.?limit|throttl|too many|too fast|quota|limit (reached|exceeded)|exceeded .{0,20}limit|slow.?down|limit_`),
		policy.ClassQuota, "a limit is used up",
		[]string{"class: quota", "job: park", "circuit: {effect: open, hold: quota}"},
	},
	{
		regexp.MustCompile(`(?i)unauthor|api.?key|\btoken|credential|authenticat|not logged in|signature`),
		policy.ClassAuth, "the credential was refused",
		[]string{"class: auth", "job: dead_letter", "refresh: true", "circuit: {effect: open, hold: credential, after: 3}"},
	},
	{
		regexp.MustCompile(`(?i)temporar|unavailable|time.?out|timed out|overload|maintenance|\bbusy|try again|internal|backend`),
		policy.ClassTransient, "the fault is temporary",
		[]string{"class: transient", "job: retry", "backoff: standard", "circuit: {effect: count}"},
	},
	{
		regexp.MustCompile(`(?i)invalid|missing|required|malformed|not.?found|unsupported|must |bad.?request|does not exist|unknown`),
		policy.ClassBadParameter, "the call itself is wrong",
		[]string{"class: bad_parameter", "job: drop", "circuit: {effect: none}"},
	},
}

// suggest returns what code and message suggest, or nil.
func suggest(code, message string) *suggestion {
	for i := range suggestions {
		if suggestions[i].words.MatchString(code + " " + message) {
			return &suggestions[i]
		}
	}
	return nil
}
