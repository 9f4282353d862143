package draft

import "strings"

// starterSections are the sections of a policy file, as comments. Lines with ## are prose;
// without the # of the others they are a valid policy.
const starterSections = `
## Where the answers have things. A place is "header NAME" or a JSONPath into the body; the first one with a value counts.
#read:
#  code: ["$.error.code", "header x-error-code"]
#  message: ["$.error.message"]
#  correlation_id: ["header x-request-id", "$.request_id"]
## A success flag, true or false. With it a JSON answer that has no flag counts as malformed.
#  ok: ["$.ok"]

## What any answer says of a limit. No call starts while nothing is left, so that none is refused.
#pace:
#  - {remaining: "header x-ratelimit-remaining", reset: {from: "header x-ratelimit-reset", format: epoch}, keep: 0}

## How long retries wait, and how often a call is sent at most.
#backoffs:
#  standard: {floor: 1s, base: 2s, cap: 10m, attempts: 6, max_age: 24h, sources: [retry-after]}

## How long the account is held: the first source that gives a time sets the end.
#holds:
#  quota:
#    sources: [retry-after, {from: "$.error.retry_in_ms", format: milliseconds}, ratelimit-reset, ladder]
#    max: 25h
#    ladder: [1m, 5m, 15m, 1h]

## When an outage opens a circuit: so many calls ended within the window, and this share of them failed.
#breaker: {window: 30s, min_calls: 20, ratio: 0.5}

## What the upstreams that use this policy have by default.
#upstream:
#  base_url: https://api.example.com
#  idempotent: ["GET *", "HEAD *", "OPTIONS *", "PUT *", "DELETE *", "POST /search/*"]
#  headers: {Accept: application/json}

## The first rule that matches decides; the rules of the extended policy follow these.
#rules:
#  - id: out-of-money
#    match: {code: [no_credit]}
#    class: balance
#    job: dead_letter
#    circuit: {effect: open, hold: credential, after: 3}
#    message: "The account with the service has run out of credit."
#    advice: "Top up the account, close the circuit, then redrive what was dead-lettered."
#  - id: slow-down
#    match: {http: ["2xx", 429], where: {"$.errors[*].kind": "^slow_down$"}}
#    class: quota
#    job: park
#    circuit: {effect: open, scope: account, hold: quota}
`

// starter is a policy file in which every section is a comment.
func starter(o Options) []byte {
	var b strings.Builder
	b.WriteString("# " + o.Name + ": a policy to start from. Every section is a comment; remove the # of what you need. Lines with ## explain.\n" +
		"# callq policy lint checks the file, and callq help policy explains the keys.\n")
	b.WriteString(head(o))
	b.WriteString(starterSections)
	return []byte(b.String())
}
