package worker

import (
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

func TestACallWithAFaultOfItsOwnEndsWithItsLastAnswer(t *testing.T) {
	park, retry := string(policy.ActionPark), string(policy.ActionRetry)
	delivery := &ledger.Delivery{}
	delivery.Log = []ledger.Attempt{
		{Action: park, Class: "quota", Rule: "first", Code: "1", CorrelationID: "c-1", Status: 429},
		{Action: park, Class: "auth", Rule: "last", Code: "2", CorrelationID: "c-2", Status: 403, Message: "no"},
		{Action: retry, Class: "transient", Rule: "passing", CorrelationID: "c-3"},
		{Action: park}, // put back unsent
	}
	e := convicted(delivery, "GET /a").Ending
	if e.Class != "auth" || e.Rule != "last" || e.Code != "2" || e.CorrelationID != "c-2" || e.HTTPStatus != 403 || e.Message != "no" {
		t.Errorf("got %+v, want the last answer of the account", e)
	}
	if e := convicted(&ledger.Delivery{}, "GET /a").Ending; e.Class != "quota" || e.Rule != "own_fault" || e.Endpoint != "GET /a" {
		t.Errorf("without a log: got %+v, want class quota, rule own_fault", e)
	}
}
