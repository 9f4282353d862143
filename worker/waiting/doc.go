// Package waiting finds out why calls wait. [Decide] is the only function that decides
// on the reasons; commands, logs and the status page show what it returns. [Read] reads
// the facts for it from Redis. It may change in any version.
//
//	facts, err := waiting.Read(ctx, rdb, waiting.Query{Upstreams: names})
//	if err != nil {
//		facts = waiting.Facts{Redis: redisinfo.Explain(err, describe)}
//	}
//	for _, r := range waiting.Decide(facts) {
//		fmt.Println(r.Text(facts.Now))
//	}
//
// A [Reason] says what waits, why, since when, what ends the wait and what a person can
// do. A [Reporter] reports reasons as they come and go; a [CircuitWatcher] reports the
// changes of circuits. The package must not depend on who shows its results.
package waiting
