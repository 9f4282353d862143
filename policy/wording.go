package policy

// wording is what an end user and the operator are told.
type wording struct{ message, advice string }

// words are told of a class where no rule says it better, and of the classes
// that no answer leads to.
var words = map[Class]wording{
	ClassOK: {
		"Done.",
		"Nothing to do.",
	},
	ClassBadParameter: {
		"The service could not accept this request as it was written.",
		"Mend the call and send it again; sending it again unchanged cannot succeed.",
	},
	ClassTransient: {
		"The service had a passing fault and could not answer.",
		"Nothing to do while it is retried. If it was dead-lettered, redrive it once the API is well.",
	},
	ClassQuota: {
		"The calls allowed for now are used up; work goes on at {resumes_at}.",
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
		"The service reported a problem that is not known yet.",
		"Look up the error code and message in the record, add a rule for it to the policy, then redrive.",
	},
	ClassOutcomeUnknown: {
		"The request may have been carried out, but no answer arrived.",
		"Find out at the API whether it took effect. Redrive only if it did not: a second send may do it twice.",
	},
	ClassMalformedTask: {
		"This request could not be read.",
		"It was not written by this version's producer, or was damaged. Send the call again from its source.",
	},
	ClassCrashLoop: {
		"This request could not be completed.",
		"Workers died while making this call, several times over. Look at their logs before you redrive it.",
	},
	ClassExpired: {
		"This request was not sent before its deadline.",
		"Send the call again with a later deadline if it is still wanted.",
	},
	ClassCancelled: {
		"This request was cancelled.",
		"Nothing to do; send the call again if it is wanted after all.",
	},
}

// Message tells an end user what happened, where no rule did: it is the message
// of rules that give none, and of the classes that no answer leads to.
func (c Class) Message() string { return words[c].message }

// Advice tells the operator what to do next, where no rule did.
func (c Class) Advice() string { return words[c].advice }

// ExplainClass returns the message for end users and the advice for the operator of a
// class that a record names, as tasks.ClientConfig.Explain asks for them. Both are empty
// for a class that is not known.
func ExplainClass(class string) (userMessage, advice string) {
	c := Class(class)
	return c.Message(), c.Advice()
}
