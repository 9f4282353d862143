package worker_test

import (
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// The rule of the policy takes the fault of a call for one of the credential. Not each such
// call asks for a token: the one that was got for the first is refused, too.
func TestCallsThatAFreshTokenDoesNotHelpAskForOneTokenTogether(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, first *callqtest.Env) {
		p, err := policy.Parse("api.yaml", []byte("extends: http\nrules:\n  - {id: old, match: {http: [400]}, class: auth, refresh: true, job: dead_letter}\n"))
		if err != nil {
			t.Fatal(err)
		}
		env := callqtest.New(t, worker.Config{Redis: first.Redis(), Upstreams: []worker.Upstream{{
			Name: "sim", BaseURL: first.Sim().URL(), Policy: p, Auth: worker.OAuth2(worker.OAuth2Config{
				ClientID: worker.StaticSecret("id"), ClientSecret: worker.StaticSecret("secret"),
				TokenField: "token", TokenURL: first.Sim().URL() + "/token",
			}),
		}}})
		first.Sim().Script("POST /token -> body=`{\"token\":\"t\",\"expires_in\":3600}` forever\n* /bad* -> http:400 forever\nGET /old -> http:400; ok")
		env.Start()
		call := func(path string) tasks.Result { return env.Await(env.Submit(tasks.Call{Path: path}).ID) }
		for _, path := range []string{"/bad1", "/bad2", "/bad3"} {
			want(t, call(path), tasks.StateDead, policy.ClassAuth, 1)
		}
		if n := first.Sim().Arrived("POST", "/token"); n != 2 {
			t.Errorf("%d tokens were asked for, want 2: the first, and one for all the calls that were refused", n)
		}
		if a, b := first.Sim().Arrived("GET", "/bad1"), first.Sim().Arrived("GET", "/bad2"); a != 2 || b != 1 {
			t.Errorf("the calls arrived %d and %d times, want 2 and 1", a, b)
		}
		// A good answer shows that the token works. When it is refused later, it is old.
		want(t, call("/ok"), tasks.StateDone, policy.ClassOK, 1)
		want(t, call("/old"), tasks.StateDone, policy.ClassOK, 1)
		if n := first.Sim().Arrived("POST", "/token"); n != 3 {
			t.Errorf("%d tokens were asked for, want 3", n)
		}
	})
}
