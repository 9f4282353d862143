package circuit

import (
	"context"
	"embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// Name names a circuit: an upstream's account, or one endpoint of it.
type Name struct {
	// Upstream is the account.
	Upstream string
	// Endpoint is the folded endpoint, "METHOD /path/*"; empty for the account's circuit.
	Endpoint string
}

// String returns the name as people type it: NAME, or NAME~METHOD~/path.
func (n Name) String() string {
	if n.Endpoint == "" {
		return n.Upstream
	}
	return n.Upstream + "~" + strings.Replace(n.Endpoint, " ", "~", 1)
}

// ParseName reads what String writes.
func ParseName(s string) (Name, error) {
	upstream, endpoint, ok := strings.Cut(s, "~")
	if !ok {
		return Name{Upstream: s}, nil
	}
	method, path, ok := strings.Cut(endpoint, "~")
	if !ok || upstream == "" || method == "" || strings.Contains(method, " ") || !strings.HasPrefix(path, "/") {
		return Name{}, fmt.Errorf("%q is not a circuit's name: write NAME, or NAME~METHOD~/path", s)
	}
	return Name{Upstream: upstream, Endpoint: method + " " + path}, nil
}

func (n Name) keys() []string {
	account := redislua.CircuitKey(n.Upstream, "")
	own := redislua.CircuitKey(n.Upstream, strings.Replace(n.Endpoint, " ", "~", 1))
	return []string{own, account, account + "s", limit.Keys(n.Upstream)[0]}
}

// State is the state of a circuit.
type State string

// The states.
const (
	Closed State = "closed"
	Open   State = "open"
)

// Record is a circuit's record. The zero value is a circuit that was never opened.
type Record struct {
	Name  Name
	State State
	// Epoch grows with every opening and closing.
	Epoch int64
	// Until is when the hold ends, Since when the circuit opened, and HeldFrom since when
	// it is held for the present reason.
	Until, Since, HeldFrom time.Time
	// Rung is the step of the ladder, from 1; 0 when closed.
	Rung int
	// Streak counts own errors in a row while closed.
	Streak int
	// Failed counts probes that failed in a row.
	Failed int
	// Probing reports that a probe is out.
	Probing bool
	// Refused are the calls that were refused since the last good answer, the latest
	// last, by [CallName], separated by spaces; those whose refusal spent an attempt have
	// a "!" in front.
	Refused string
	// Next is the call that must be the next probe, by [CallName]; empty for any call.
	Next string
	// Convicted are, in an account's record, the calls whose own fault is proven,
	// separated by spaces: the API refuses them whatever the account's state. They end
	// when they are dequeued next.
	Convicted string
	// Reason is why it is open: quota, rate, permission, credential, outage, or operator.
	Reason string
	// Hold is the policy's hold, Source where the hold's end comes from.
	Hold, Source string
	// These are from the answer that opened it; Trace is its span, as a traceparent header.
	Class, Code, Message, CorrelationID, Trace string
	// Fault describes the transient fault of its last probe, if there was one: the hold
	// continues unchanged.
	Fault string
	// Who is the name of the worker or the operator that opened or closed it last.
	Who string
	// Note is the reason that an operator gave.
	Note string
	// Limited is until when a limit or a budget holds the account, LimitedBy which of the
	// two it is, LimitedText the rule as it was written. No probe follows.
	Limited                time.Time
	LimitedBy, LimitedText string
	// LimitTurns reports that the rule counts calls in a window, and a new window begins
	// at Limited; a rate only allows its next call then.
	LimitTurns bool
	// LimitOfAPI reports that the rule is a limit of the API, which the API's answers
	// describe.
	LimitOfAPI bool
	// Waiting is how many calls wait behind it; only [Store.List] and [Store.Watch] set it.
	Waiting int64
	// lastLimit is the present or the last hold by a limit, if the log does not have it.
	lastLimit Hold
}

// Held reports whether no call may be sent at the given time.
func (r Record) Held(now time.Time) bool {
	return r.State == Open && now.Before(r.Until) || now.Before(r.Limited)
}

// Cause describes the answer that a report of an own error is about.
type Cause struct {
	Reason, Hold, Source                       string
	Class, Code, Message, CorrelationID, Trace string
}

// Verdict is what a call's result means to one circuit.
type Verdict string

// The verdicts; see lua/report.lua.
const (
	OwnError Verdict = "error"  // an error that is about the account or the endpoint
	Fault    Verdict = "fault"  // a transient fault, which says nothing about them
	Answer   Verdict = "answer" // any other answer: the API works
	Unsent   Verdict = "unsent" // the call was not sent
)

// Report is the result of one call for one circuit.
type Report struct {
	Verdict Verdict
	// Epoch admitted the call; Token is its probe token, if it had one.
	Epoch int64
	Token string
	// ID identifies the report: one that is sent again because its reply was lost has the
	// same ID and counts once. Only an OwnError with After above 1 needs one.
	ID string
	// Call names the call and its generation, see [CallName]. If it is empty, the refusal
	// is not recorded. Endpoint is the call's endpoint.
	Call, Endpoint string
	// Parked reports that an OwnError spends no attempt of the call. Only such a refusal
	// can count as the call's own fault.
	Parked bool
	// Outage reports, for a Fault, that the hold is about such faults: another call is to
	// be the next probe.
	Outage bool
	// AllRefused reports, for a probe, that every waiting call was refused since the last
	// good answer.
	AllRefused bool
	// After is how many own errors in a row open the circuit; below 1 means 1. A Fault has
	// an After above 1 if it is such an error, met by the probe of a hold that is for another
	// one: until there are so many, it says nothing about the account.
	After int
	// MaxProbes is the policy's max_probes: how many probes may fail before calls are
	// given up; 0 means no bound.
	MaxProbes int
	// Delays are how long the hold lasts on each rung; the last one repeats. For a Fault
	// they are how long to wait for the next probe after the first fault in a row, the
	// second, and so on. OwnError and Fault need at least one.
	Delays []time.Duration
	// ServerSaid reports that the server itself gave the delay.
	ServerSaid bool
	// Fault describes, for a Fault, the probe's fault for people.
	Fault string
	// AdaptiveRate is the start rate of the adaptive limit that this error lowers; 0 where
	// it lowers none.
	AdaptiveRate int
	Cause        Cause
}

// CallName is the name of a call in circuits' records. A call that is redriven gets a new
// name.
func CallName(id string, generation int) string { return id + "#" + strconv.Itoa(generation) }

// AdmitRequest asks a circuit to admit a call.
type AdmitRequest struct {
	// Token must be new with every request.
	Token string
	// Lease is how long the probe's lease lasts if it is not renewed, see [Store.Renew].
	Lease time.Duration
	// Call names the call, see [CallName]; empty for none.
	Call string
	// GoodAt is when this process last got a good answer to a call of this circuit; zero
	// for never.
	GoodAt time.Time
}

// Admission is the answer to [Store.Admit].
type Admission struct {
	// Admitted reports that the call may be made, Probe that it is the probe.
	Admitted, Probe bool
	Epoch           int64
	// Hold and Rung are those of the hold that the probe tests, HeldFor is how long the
	// circuit has been open.
	Hold    string
	Rung    int
	HeldFor time.Duration
	// Wait is when to ask again, if not admitted.
	Wait time.Duration
	// GiveUp reports that too many probes failed: the call must not be made at all. Code,
	// CorrelationID and Message are from the answer that opened the circuit.
	GiveUp                       bool
	Code, CorrelationID, Message string
}

// Store reads and writes the records of circuits. It is safe for concurrent use.
type Store struct {
	rdb       redis.UniversalClient
	who       string
	clustered bool
	snapshots sync.Map // upstream -> *snapshot
}

// NewStore returns a Store; who names this process in the records.
func NewStore(rdb redis.UniversalClient, who string) *Store {
	return &Store{rdb: rdb, who: who, clustered: redislua.Clustered(rdb)}
}

//go:embed lua/*.lua
var sources embed.FS

// load returns the script that consists of holdlog.lua, prelude.lua and the given files.
func load(names ...string) *redis.Script {
	return redislua.Script(redislua.HoldLog(), redislua.Read(sources, "prelude"), redislua.Read(sources, names...))
}

var (
	scriptReport  = redislua.Script(redislua.HoldLog(), limit.AdaptiveSource(), redislua.Read(sources, "prelude", "refusals", "report"))
	scriptAdmit   = load("refusals", "admit")
	scriptOperate = redislua.Script(redislua.HoldLog(), redislua.Limited(), redislua.Read(sources, "prelude", "operate"))
	scriptRestore = load("restore")
	scriptFollow  = redislua.Script(redislua.Read(sources, "follow"))
)

// Status is a circuit's state after a report.
type Status struct {
	Open  bool
	Epoch int64
	// Wait is how much longer the hold lasts; 0 or less when it is over.
	Wait time.Duration
	// Ends reports that the call must end: as many probes as may fail in a row have
	// failed, or the fault is proven to be the call's own.
	Ends bool
	// Began reports that the report began a hold. A later rung of the same hold begins
	// none.
	Began bool
	// OpenBefore is since when the circuit was open before the report, by Redis's clock;
	// zero if it was closed.
	OpenBefore time.Time
	// Reached reports, for a Fault with an After above 1, that there were so many in a row.
	// The circuit has not changed: the call's result must be reported as an OwnError.
	Reached bool
}

// Report applies a call's result to the circuit and returns the circuit's status. Before
// it returns it updates the copies for the upstream's other queues.
func (s *Store) Report(ctx context.Context, n Name, r Report) (Status, error) {
	args := []any{r.Epoch, r.Token, string(r.Verdict), max(r.After, 1), redislua.Flag(r.ServerSaid), r.MaxProbes, r.AdaptiveRate, r.ID,
		r.Call, r.Endpoint, redislua.Flag(r.Parked || r.Outage), redislua.Flag(r.AllRefused), len(r.Delays)}
	for _, d := range r.Delays {
		args = append(args, max(d, time.Millisecond).Milliseconds())
	}
	if r.Verdict == OwnError {
		c := r.Cause
		args = append(args, "reason", c.Reason, "hold", c.Hold, "source", c.Source, "class", c.Class, "code", c.Code,
			"message", c.Message, "correlation_id", c.CorrelationID, "trace", c.Trace, "who", s.who, "note", "")
	}
	if r.Verdict == Fault && r.Fault != "" {
		args = append(args, "fault", r.Fault)
	}
	reply, err := scriptReport.Run(ctx, s.rdb, n.keys(), args...).Slice()
	if err != nil {
		return Status{}, fmt.Errorf("report to circuit %s: %w", n, err)
	}
	status := Status{
		Open: redislua.Number(reply[1]) == 1, Epoch: redislua.Number(reply[2]), Wait: time.Duration(redislua.Number(reply[3])) * time.Millisecond,
		Ends: redislua.Number(reply[4]) == 1, Reached: redislua.Number(reply[4]) == 2, Began: redislua.Number(reply[6]) == 1,
	}
	if since := redislua.Number(reply[7]); since > 0 {
		status.OpenBefore = time.UnixMilli(since)
	}
	if redislua.Number(reply[0]) == 0 {
		return status, nil
	}
	if n.Endpoint == "" {
		s.learn(n.Upstream, redislua.Hash(reply[5]))
	}
	return status, s.follow(ctx, n.Upstream)
}

// Admit asks whether a call may be made now.
func (s *Store) Admit(ctx context.Context, n Name, a AdmitRequest) (Admission, error) {
	good := int64(-1)
	if !a.GoodAt.IsZero() {
		good = max(time.Since(a.GoodAt), 0).Milliseconds()
	}
	reply, err := scriptAdmit.Run(ctx, s.rdb, n.keys(), a.Token, a.Lease.Milliseconds(), a.Call, good).Slice()
	if err != nil {
		return Admission{}, fmt.Errorf("ask circuit %s: %w", n, err)
	}
	switch redislua.Number(reply[0]) {
	case 1:
		return Admission{Admitted: true, Epoch: redislua.Number(reply[1])}, nil
	case 2:
		return Admission{Admitted: true, Probe: true, Epoch: redislua.Number(reply[1]), Hold: redislua.Text(reply[2]), Rung: int(redislua.Number(reply[3])), HeldFor: time.Duration(redislua.Number(reply[4])) * time.Millisecond}, nil
	case 3:
		return Admission{GiveUp: true, Code: redislua.Text(reply[1]), CorrelationID: redislua.Text(reply[2]), Message: redislua.Text(reply[3])}, nil
	default:
		return Admission{Wait: max(time.Duration(redislua.Number(reply[1]))*time.Millisecond, time.Millisecond)}, nil
	}
}

// Open opens the circuit for d, for an operator.
func (s *Store) Open(ctx context.Context, n Name, d time.Duration, reason, who string) error {
	return s.operate(ctx, n, "open", d, "reason", "operator", "hold", "", "source", "operator", "class", "", "code", "",
		"message", "", "correlation_id", "", "trace", "", "max_probes", 0, "note", reason, "who", who)
}

// Close closes the circuit, for an operator. A circuit that is closed already gets a new
// epoch.
func (s *Store) Close(ctx context.Context, n Name, reason, who string) error {
	return s.operate(ctx, n, "close", 0, "note", reason, "who", who)
}

func (s *Store) operate(ctx context.Context, n Name, verb string, d time.Duration, fields ...any) error {
	if err := s.repair(ctx, n); err != nil {
		return fmt.Errorf("%s circuit %s: %w", verb, n, err)
	}
	reply, err := scriptOperate.Run(ctx, s.rdb, n.keys(), append([]any{verb, d.Milliseconds()}, fields...)...).Slice()
	if err != nil {
		return fmt.Errorf("%s circuit %s: %w", verb, n, err)
	}
	if n.Endpoint == "" {
		s.learn(n.Upstream, redislua.Hash(reply))
	}
	return s.follow(ctx, n.Upstream)
}

// copied are the fields that the dequeue script reads; see lua/follow.lua.
var copied = []string{
	"state", "epoch", "until", "streak", "endpoints", "held", "since", "limited", "limited_plan",
	"refused", "refused_at", "failed", "next", "convicted",
}

// follow copies the account's record to the upstream's other queues, if those live on
// other nodes.
func (s *Store) follow(ctx context.Context, upstream string) error {
	if !s.clustered {
		return nil
	}
	h, err := s.rdb.HGetAll(ctx, redislua.CircuitKey(upstream, "")).Result()
	if err != nil {
		return fmt.Errorf("read circuit %s: %w", upstream, err)
	}
	args := []any{h["version"]}
	for _, field := range copied {
		args = append(args, field, h[field])
	}
	for _, lane := range []string{":high", ":low"} {
		if err := scriptFollow.Run(ctx, s.rdb, []string{redislua.CircuitKey(upstream+lane, "")}, args...).Err(); err != nil {
			return fmt.Errorf("copy circuit %s to %s: %w", upstream, upstream+lane, err)
		}
	}
	return nil
}

// Get returns a circuit's record.
func (s *Store) Get(ctx context.Context, n Name) (Record, error) {
	h, err := s.rdb.HGetAll(ctx, n.keys()[0]).Result()
	if err != nil {
		return Record{}, fmt.Errorf("read circuit %s: %w", n, err)
	}
	return recordFromHash(n, h), nil
}
