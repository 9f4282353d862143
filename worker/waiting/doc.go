// Package waiting says why calls wait. [Decide] is the one function that knows the
// reasons; commands, logs and the status page show what it returns. [Read] takes the
// facts for it out of Redis. It may change in any version.
//
//	facts, err := waiting.Read(ctx, rdb, waiting.Query{Upstreams: names})
//	if err != nil {
//		facts = waiting.Facts{Redis: redisinfo.Explain(err, describe)}
//	}
//	for _, r := range waiting.Decide(facts) {
//		fmt.Println(r.Text(facts.Now))
//	}
//
// A reason names what waits, why, since when, what ends the wait and what a person
// can do. It must not know who shows it.
package waiting
