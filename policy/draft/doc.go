// Package draft writes a policy to start from, out of answers that no rule knew. It
// groups them by status, error code and the shape of their bodies, finds the places that
// probably have the code and the message, and writes a policy file with a rule for each
// group and a file with a case for each.
//
// The package may change.
//
//	var unknown []draft.Answer
//	for _, a := range answers {
//		if draft.NeedsRule(a) {
//			unknown = append(unknown, a)
//		}
//	}
//	d, err := draft.New(draft.Options{Name: "my-api", Extends: "http", Answers: unknown, Load: load})
//	if err != nil {
//		return err
//	}
//	fmt.Printf("%s\n%s", d.Policy, d.Cases)
//
// A rule that is active decides as the extended policy does: the file changes nothing
// until a person decides. What the words of an answer suggest is written as a comment.
package draft

import (
	"net/http"

	"github.com/seed-2903acc3/callq/policy"
)

// Answer is one recorded answer.
type Answer struct {
	// Key names the call, Method and Path are its request.
	Key, Method, Path string
	Status            int
	// Header has the headers that were recorded.
	Header http.Header
	Body   []byte
	// Class and Rule are what was decided when the answer arrived.
	Class, Rule string
}

// Options are what a draft is made from.
type Options struct {
	// Name is the policy's name; its file is NAME.yaml.
	Name string
	// File is the name of the policy's file as the cases say it. Empty: NAME.yaml.
	File string
	// Extends is the policy to extend, as the file says it.
	Extends string
	// Answers are those that need a rule. If there are none, the draft is a policy file
	// in which every section is a comment.
	Answers []Answer
	// Successes are the answers that a rule took for a success by their status alone. May be
	// nil.
	Successes *Successes
	// Results is how many results there are; 0: not known.
	Results int
	// Load parses the text of a policy file with what it extends.
	Load func(data []byte) (*policy.Policy, error)
}

// Draft is a policy to start from.
type Draft struct {
	// Policy and Cases are the texts of two files. Cases is nil if there are no answers.
	Policy, Cases []byte
	// Rules are the rules in the file, in its order.
	Rules []Rule
	// Verdict is the place at which successes differ as if it said how a call went; empty:
	// none was found.
	Verdict string
}

// Rule is one rule of a draft.
type Rule struct {
	ID     string
	Status int
	Code   string
	// Answers is how many answers it is for.
	Answers int
	// Active reports that the rule is not a comment.
	Active bool
}
