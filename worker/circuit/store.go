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
	// Endpoint is the folded endpoint, "METHOD /path/*", or empty.
	Endpoint string
}

// String is the name that people type: NAME, or NAME~METHOD~/path.
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
		return Name{}, fmt.Errorf("%q is no circuit: write NAME, or NAME~METHOD~/path", s)
	}
	return Name{Upstream: upstream, Endpoint: method + " " + path}, nil
}

func (n Name) keys() []string {
	account := redislua.CircuitKey(n.Upstream, "")
	own := redislua.CircuitKey(n.Upstream, strings.Replace(n.Endpoint, " ", "~", 1))
	return []string{own, account, account + "s", limit.Keys(n.Upstream)[0]}
}

// State is what a circuit's record says.
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
	// Until is when the hold ends, Since when the circuit opened.
	Until, Since time.Time
	// Rung is the step of the ladder, from 1; 0 when closed.
	Rung int
	// Streak counts account failures in a row while closed.
	Streak int
	// Failed counts probes that failed in a row.
	Failed int
	// Probing tells that a probe is out.
	Probing bool
	// Refused are the calls that were refused since one was answered well, the last
	// one last, by [CallName], with spaces between; those that spent an attempt by
	// it have a "!" in front.
	Refused string
	// Next is the call that has to be the next probe, by [CallName]; empty for any.
	Next string
	// Convicted are, in an account's record, the calls that end when their turn
	// comes, with spaces between: they are refused whatever the account's state.
	Convicted string
	// Reason says why: quota, rate, permission, credential, outage, or operator.
	Reason string
	// Hold is the policy's hold, Source what told the hold's end.
	Hold, Source string
	// Class, Code, Message and CorrelationID are those of the answer that opened it.
	Class, Code, Message, CorrelationID string
	// Fault is what its last probe met, in words, where that was a transient fault:
	// the hold goes on as it was.
	Fault string
	// Who opened or closed it last: a worker's name, or an operator's.
	Who string
	// Note is the reason that an operator gave.
	Note string
	// Limited is until when a limit or a budget holds the account, LimitedBy which
	// of both it is, LimitedText the rule as it was written. No probe follows.
	Limited                time.Time
	LimitedBy, LimitedText string
	// LimitTurns tells that the rule counts a window, which turns then; a rate
	// only has its next call then.
	LimitTurns bool
	// Waiting is how many calls wait behind it; only [Store.List] fills it.
	Waiting int64
}

// Held tells whether no call may go out at the given time.
func (r Record) Held(now time.Time) bool {
	return r.State == Open && now.Before(r.Until) || now.Before(r.Limited)
}

// Cause describes the answer that an error report is about.
type Cause struct {
	Reason, Hold, Source                string
	Class, Code, Message, CorrelationID string
}

// Verdict is what a call met, in the eyes of one circuit.
type Verdict string

// The verdicts; see lua/report.lua.
const (
	OwnError Verdict = "error"
	Fault    Verdict = "fault"
	Answer   Verdict = "answer"
	Unsent   Verdict = "unsent"
)

// Report is what one call has to tell a circuit.
type Report struct {
	Verdict Verdict
	// Epoch admitted the call; Token is its probe token, if it had one.
	Epoch int64
	Token string
	// ID is the same for a report that is made again, for want of an answer, and no
	// other's: it counts once. Only an OwnError with After above 1 needs one.
	ID string
	// Call names the call and its generation, see [CallName]; empty for none, which is
	// then never told from another. Endpoint is its endpoint.
	Call, Endpoint string
	// Parked tells that an OwnError spends no attempt of the call. Only such a
	// refusal can be shown to be the call's own fault.
	Parked bool
	// AllRefused tells, of a probe, that every call that waits has been refused since the
	// account answered well last.
	AllRefused bool
	// After is how many own errors in a row open the circuit; below 1 reads as 1.
	After int
	// MaxProbes as in the policy; 0 means never.
	MaxProbes int
	// Delays are how long to hold on each rung, the last repeating; for a Fault,
	// how long until the next probe after the first fault in a row, the second…
	// OwnError and Fault need at least one.
	Delays []time.Duration
	// ServerSaid tells that the delay is the server's own word.
	ServerSaid bool
	// Fault is, for a Fault, what the probe met, in words for people.
	Fault string
	// AdaptiveRate is the rate that an adaptive limit begins with, where this
	// error lowers one; 0 where it does not.
	AdaptiveRate int
	Cause        Cause
}

// CallName is the name by which a circuit knows a call: a call that is redriven
// is another one to it.
func CallName(id string, generation int) string { return id + "#" + strconv.Itoa(generation) }

// AdmitRequest is a call's request to a circuit.
type AdmitRequest struct {
	// Token must be new with every request.
	Token string
	// Lease is for how long the probe may be silent before it counts as lost; see
	// [Store.Renew].
	Lease time.Duration
	// Call names the call, see [CallName]; empty for none.
	Call string
	// GoodAt is when this process last saw a call of this circuit answered well;
	// zero for never.
	GoodAt time.Time
}

// Admission is the answer to [Store.Admit].
type Admission struct {
	// Admitted tells that the call may be made, Probe that it is the probe.
	Admitted, Probe bool
	Epoch           int64
	// Hold and Rung are those of the hold that the probe is to end.
	Hold string
	Rung int
	// Wait is when to ask again, if not admitted.
	Wait time.Duration
	// GiveUp tells that too many probes failed: the call is not to be made at
	// all, for the reason given by Code, CorrelationID and Message.
	GiveUp                       bool
	Code, CorrelationID, Message string
}

// Store reads and writes the fleet's records. It is safe for concurrent use.
type Store struct {
	rdb       redis.UniversalClient
	who       string
	clustered bool
	snapshots sync.Map // upstream -> *snapshot
}

// NewStore makes a Store; who names this process in the records.
func NewStore(rdb redis.UniversalClient, who string) *Store {
	return &Store{rdb: rdb, who: who, clustered: redislua.Clustered(rdb)}
}

//go:embed lua/*.lua
var sources embed.FS

// load makes a script of files that stand behind prelude.lua.
func load(names ...string) *redis.Script {
	return redislua.Script(redislua.Read(sources, "prelude"), redislua.Read(sources, names...))
}

var (
	scriptReport  = redislua.Script(limit.AdaptiveSource(), redislua.Read(sources, "prelude", "refusals", "report"))
	scriptAdmit   = load("refusals", "admit")
	scriptOperate = redislua.Script(redislua.Limited(), redislua.Read(sources, "prelude", "operate"))
	scriptRestore = load("restore")
	scriptFollow  = redislua.Script(redislua.Read(sources, "follow"))
)

// Status is a circuit's state after a report.
type Status struct {
	Open  bool
	Epoch int64
	// Wait is how much longer the hold lasts; 0 or less when it is over.
	Wait time.Duration
	// Ends reports that the call ends: it was the last of the probes that may fail in a
	// row, or it is refused whatever the account's state.
	Ends bool
}

// Report tells the circuit what a call met, and returns its status then. The
// copies beside the upstream's other queues follow before it returns.
func (s *Store) Report(ctx context.Context, n Name, r Report) (Status, error) {
	args := []any{r.Epoch, r.Token, string(r.Verdict), max(r.After, 1), redislua.Flag(r.ServerSaid), r.MaxProbes, r.AdaptiveRate, r.ID,
		r.Call, r.Endpoint, redislua.Flag(r.Parked), redislua.Flag(r.AllRefused), len(r.Delays)}
	for _, d := range r.Delays {
		args = append(args, max(d, time.Millisecond).Milliseconds())
	}
	if r.Verdict == OwnError {
		c := r.Cause
		args = append(args, "reason", c.Reason, "hold", c.Hold, "source", c.Source, "class", c.Class, "code", c.Code,
			"message", c.Message, "correlation_id", c.CorrelationID, "who", s.who, "note", "")
	}
	if r.Verdict == Fault && r.Fault != "" {
		args = append(args, "fault", r.Fault)
	}
	reply, err := scriptReport.Run(ctx, s.rdb, n.keys(), args...).Slice()
	if err != nil {
		return Status{}, fmt.Errorf("report to circuit %s: %w", n, err)
	}
	status := Status{Open: redislua.Number(reply[1]) == 1, Epoch: redislua.Number(reply[2]), Wait: time.Duration(redislua.Number(reply[3])) * time.Millisecond, Ends: redislua.Number(reply[4]) == 1}
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
		return Admission{Admitted: true, Probe: true, Epoch: redislua.Number(reply[1]), Hold: redislua.Text(reply[2]), Rung: int(redislua.Number(reply[3]))}, nil
	case 3:
		return Admission{GiveUp: true, Code: redislua.Text(reply[1]), CorrelationID: redislua.Text(reply[2]), Message: redislua.Text(reply[3])}, nil
	default:
		return Admission{Wait: max(time.Duration(redislua.Number(reply[1]))*time.Millisecond, time.Millisecond)}, nil
	}
}

// Open holds the circuit for d, by an operator's word.
func (s *Store) Open(ctx context.Context, n Name, d time.Duration, reason, who string) error {
	return s.operate(ctx, n, "open", d, "reason", "operator", "hold", "", "source", "operator", "class", "", "code", "",
		"message", "", "correlation_id", "", "max_probes", 0, "note", reason, "who", who)
}

// Close closes the circuit, by an operator's word; a circuit that is closed
// already gets a new epoch.
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

// follow copies the account's record to the upstream's other queues, where those
// live on other nodes.
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

func recordFromHash(n Name, h map[string]string) Record {
	num := func(field string) int64 { return redislua.Integer(h[field]) }
	at := func(field string) time.Time { return redislua.Milli(h[field]) }
	r := Record{
		Name: n, State: State(h["state"]), Epoch: num("epoch"), Until: at("until"), Since: at("since"),
		Rung: int(num("rung")), Streak: int(num("streak")), Failed: int(num("failed")), Probing: h["token"] != "",
		Refused: h["refused"], Next: h["next"], Convicted: h["convicted"],
		Reason: h["reason"], Hold: h["hold"], Source: h["source"], Class: h["class"], Code: h["code"],
		Message: h["message"], CorrelationID: h["correlation_id"], Fault: h["fault"], Who: h["who"], Note: h["note"],
		Limited: at("limited"), LimitedBy: h["limited_by"], LimitedText: h["limited_text"], LimitTurns: h["limited_turn"] == "1",
	}
	if r.State == "" {
		r.State = Closed
	}
	return r
}
