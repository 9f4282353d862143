package policy

// wording is a message for end users and an advice for the operator.
type wording struct{ message, advice string }

// words are for rules without a message or an advice of their own, and for classes that
// no rule gives.
var words = map[Class]wording{
	ClassOK: {
		"Done.",
		"Nothing to do.",
	},
	ClassBadParameter: {
		"The service could not accept this request as it was written.",
		"Correct the call and send it again. Sent again unchanged, it cannot succeed.",
	},
	ClassTransient: {
		"The service had a temporary fault and could not answer.",
		"Nothing to do while it is retried. If it was dead-lettered, redrive it once the API works again.",
	},
	ClassQuota: {
		"The calls allowed for now are used up; calls resume at {resumes_at}.",
		"Nothing to do: calls wait without spending attempts. If it happens often, ask the API for a larger quota.",
	},
	ClassAuth: {
		"The service did not accept our credentials.",
		"Renew the credential, close the circuit, then redrive what was dead-lettered.",
	},
	ClassBalance: {
		"The account with the service has run out of credit.",
		"Top up the account, close the circuit, then redrive what was dead-lettered.",
	},
	ClassConfig: {
		"The service could not be reached because of a setting on our side.",
		"Check base_url, TLS and size limits of the upstream, close the circuit, then redrive.",
	},
	ClassProtocol: {
		"The service answered in a form that could not be read.",
		"Check that base_url points at the API and that no proxy answers in its place, then redrive.",
	},
	ClassUnknown: {
		"The service reported an unknown problem.",
		"Look up the error code and message in the record, add a rule for it to the policy, then redrive.",
	},
	ClassOutcomeUnknown: {
		"The request may have been carried out, but no answer arrived.",
		"Check at the API whether it took effect. Redrive it only if it did not: a second send may do it twice.",
	},
	ClassMalformedTask: {
		"This request could not be read.",
		"It was written by another version of callq, or it is corrupt. Send the call again from its source.",
	},
	ClassCrashLoop: {
		"This request could not be completed.",
		"Workers crashed several times while making this call. Read their logs before you redrive it.",
	},
	ClassExpired: {
		"This request was not sent before its deadline.",
		"Send the call again with a later deadline if it is still wanted.",
	},
	ClassCancelled: {
		"This request was cancelled.",
		"Nothing to do. Send the call again if it is still wanted.",
	},
}

// Message returns the message for end users of a rule that gives none, and of a class
// that no rule gives.
func (c Class) Message() string { return words[c].message }

// Advice returns the advice for the operator of a rule that gives none, and of a class
// that no rule gives.
func (c Class) Advice() string { return words[c].advice }

// ExplainClass returns the message for end users and the advice for the operator of a
// class that a record names. It is a function for tasks.ClientConfig.Explain. Both texts
// are empty for an unknown class.
func ExplainClass(class string) (userMessage, advice string) {
	c := Class(class)
	return c.Message(), c.Advice()
}
