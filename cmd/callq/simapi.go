package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/internal/fileerror"
	"github.com/seed-2903acc3/callq/worker/simapi"
	"github.com/spf13/cobra"
)

// defaultSimAddr is where the simulated API listens.
const defaultSimAddr = "127.0.0.1:9999"

// simFlags are the flags of simapi.
type simFlags struct {
	addr        string
	api         string
	allowRemote bool
	script      string
	demo        bool
	seed        uint64
	latency     string
	quota       string
	retryAfter  bool
	rate        string
	balance     string
	budget      int
	token       string
	tokenFor    time.Duration
	apiKey      string
	oauth       string
	oauthFor    time.Duration
	message     string
	code        string
	status      string
}

func (a *app) simapiCommand() *cobra.Command {
	var f simFlags
	cmd := &cobra.Command{
		Use:   "simapi",
		Short: "Serve a simulated API for tests",
		Long: `Serve a simulated API that answers and fails like the real one, and records each call.
Without flags it answers every call with ok.

--api chooses the API: ` + inLines(simapi.APIs(), 62) + `.
Without it, the API is ` + simapi.DefaultAPI + `. Quota, budget and token end with the errors of that
API, and its headers say what is left of the quota.

A script says what fails, one rule a line: METHOD /path -> answer; answer; …

  GET /search/*  -> 68300008 x2; ok      two service errors, then ok
  5% * *         -> http:503             one call in twenty
  GET /report    -> hang=5s; cut; html   no usable answer
  * *            -> body={"state": "BUSY"} x2; ok
  PUT *          -> http:460 header=X-Fault:credit body={"code": 17}
  POST /v1/*     -> rate-limit wait=6m   an error that --api openai has by name

Each call (its method, path and query together) gets each answer once, or N times with
xN, and ok after the last. A rule that starts with "shared" counts all calls as one.

A script that names an unknown answer is refused with the names that the API has.

GET /_sim/stats counts the calls that arrived, GET /_sim/calls lists them.`,
		Example: `  callq simapi --demo
  callq simapi --api openai --quota 500/1m --budget 2000
  callq simapi --script faults.txt --quota 100/1m --quota-retry-after`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkAPI(f.api); err != nil {
				return err
			}
			return a.simapi(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", defaultSimAddr, "`HOST:PORT` to listen on; port 0 is a free port")
	flags.StringVar(&f.api, "api", simapi.DefaultAPI, "`NAME` of the API to simulate")
	completeFlag(cmd, "api", simapi.APIs)
	flags.BoolVar(&f.allowRemote, "allow-remote", false, "allow an address that other machines can reach")
	flags.StringVar(&f.script, "script", "", "`FILE` of rules; - reads them from stdin")
	flags.BoolVar(&f.demo, "demo", false, "use the faults, latency and quota of the demonstration")
	flags.Uint64Var(&f.seed, "seed", 1, "`NUMBER` that decides which calls fail")
	flags.StringVar(&f.latency, "latency", "", "wait before each answer: `D`, or MIN-MAX, as in 20ms-120ms")
	flags.StringVar(&f.quota, "quota", "", "`CALLS/WINDOW` that the account may make, as in 100/1m")
	flags.BoolVar(&f.retryAfter, "quota-retry-after", false, "send Retry-After with the time when the quota is reset")
	flags.StringVar(&f.rate, "rate", "", "hidden rate in `CALLS` a second, or CALLS/BURST, as in 10/20")
	flags.StringVar(&f.balance, "balance", "", "prepaid `CREDIT/PRICE` of a call, as in 5/0.01")
	flags.IntVar(&f.budget, "budget", 0, "`CALLS` that the account has money for")
	flags.StringVar(&f.token, "token", "", "bearer `TOKEN` that calls must have")
	flags.DurationVar(&f.tokenFor, "token-for", 0, "let the token expire after this `TIME`")
	flags.StringVar(&f.apiKey, "apikey", "", "`KEY` that calls must have as the query parameter apikey")
	flags.StringVar(&f.oauth, "oauth", "", "`ID:SECRET` that POST /oauth/token gives tokens for")
	flags.DurationVar(&f.oauthFor, "oauth-for", 0, "how long such a token is valid (default 1799s)")
	flags.StringVar(&f.message, "message-field", "", "spelling of the message's `NAME`: error_msg, error_message, msg or message")
	flags.StringVar(&f.code, "code-form", "", "`FORM` of error_code: int, float or string")
	flags.StringVar(&f.status, "status-form", "", "`FORM` of status: bool or string")
	return cmd
}

func (a *app) simapi(ctx context.Context, f simFlags) error {
	if !f.allowRemote && !isLoopback(f.addr) {
		return usageError("--addr %s can be reached from other machines, and the simulated API has no access control; use 127.0.0.1:PORT, or add --allow-remote", f.addr)
	}
	cfg, err := a.simConfig(f)
	if err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return usageError("%w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", f.addr)
	if err != nil {
		return usageError("cannot listen on --addr %s: %w", f.addr, unlistenable(err))
	}
	sim := simapi.New(cfg)
	server := &http.Server{Handler: sim, ReadHeaderTimeout: 10 * time.Second}
	url := "http://" + listener.Addr().String()
	if a.json {
		err = a.printJSON(map[string]string{"url": url})
	} else {
		_, err = fmt.Fprintf(a.stdout, "The simulated API answers on %s (%s/_sim/stats counts the calls)\n", url, url)
	}
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("the simulated API stopped: %w", err)
	case <-ctx.Done():
	}
	// Hanging calls end first, because Shutdown would wait for them.
	if err := sim.Close(); err != nil {
		return err
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(last) != nil {
		return server.Close()
	}
	return nil
}

// checkAPI refuses a name that no simulated API has.
func checkAPI(name string) error {
	if slices.Contains(simapi.APIs(), name) {
		return nil
	}
	return usageError("--api %q is not valid; write one of %s", name, strings.Join(simapi.APIs(), ", "))
}

// simConfig returns the configuration that the flags describe.
func (a *app) simConfig(f simFlags) (simapi.Config, error) {
	cfg := simapi.Config{API: f.api}
	if f.demo {
		cfg = simapi.DemoOf(f.api, f.seed)
	}
	cfg.Seed = f.seed
	err := f.parse(&cfg)
	if err == nil {
		err = f.checkEffect(cfg)
	}
	if err != nil {
		return cfg, err
	}
	cfg.Quota.RetryAfter = cfg.Quota.RetryAfter || f.retryAfter
	cfg.Token, cfg.APIKey, cfg.OAuth.Lifetime = f.token, f.apiKey, f.oauthFor
	if f.tokenFor != 0 {
		cfg.TokenUntil = time.Now().Add(f.tokenFor)
	}
	cfg.Envelope = simapi.Envelope{Message: f.message, Code: simapi.CodeForm(f.code), Status: simapi.StatusForm(f.status)}
	if f.budget > 0 {
		cfg.Balance = simapi.Balance{Credit: float64(f.budget), PerCall: 1}
	}
	if f.script != "" {
		cfg.Script, err = a.simScript(f.api, f.script)
	}
	return cfg, err
}

// parse parses the flags that have their own syntax.
func (f simFlags) parse(cfg *simapi.Config) error {
	var err error
	read := func(flag, value, want string, parse func(string) bool) {
		if err == nil && value != "" && !parse(value) {
			err = usageError("--%s %s is not valid; write %s", flag, strconv.Quote(value), want)
		}
	}
	read("latency", f.latency, "a time as in 50ms, or two as in 20ms-120ms", func(text string) bool {
		least, most, both := strings.Cut(text, "-")
		if !both {
			most = least
		}
		return readDuration(least, &cfg.Latency.Min) && readDuration(most, &cfg.Latency.Max) && cfg.Latency.Min <= cfg.Latency.Max
	})
	read("quota", f.quota, "CALLS/WINDOW, as in 100/1m", func(text string) bool {
		calls, window, _ := strings.Cut(text, "/")
		cfg.Quota = simapi.Quota{RetryAfter: cfg.Quota.RetryAfter}
		return readCount(calls, &cfg.Quota.Calls) && readDuration(window, &cfg.Quota.Window) && cfg.Quota.Window > 0
	})
	read("rate", f.rate, "calls a second as in 10, or with a burst as in 10/20", func(text string) bool {
		rate, burst, both := strings.Cut(text, "/")
		return readAmount(rate, &cfg.Rate.PerSecond) && (!both || readCount(burst, &cfg.Rate.Burst))
	})
	read("balance", f.balance, "CREDIT/PRICE, as in 5/0.01", func(text string) bool {
		credit, price, _ := strings.Cut(text, "/")
		return readAmount(credit, &cfg.Balance.Credit) && readAmount(price, &cfg.Balance.PerCall)
	})
	read("oauth", f.oauth, "ID:SECRET", func(text string) bool {
		id, secret, _ := strings.Cut(text, ":")
		cfg.OAuth.ClientID, cfg.OAuth.ClientSecret = id, secret
		return id != "" && secret != ""
	})
	for _, one := range []struct {
		flag, value, want string
		envelope          simapi.Envelope
	}{
		{"message-field", f.message, "error_msg, error_message, msg or message", simapi.Envelope{Message: f.message}},
		{"code-form", f.code, "int, float or string", simapi.Envelope{Code: simapi.CodeForm(f.code)}},
		{"status-form", f.status, "bool or string", simapi.Envelope{Status: simapi.StatusForm(f.status)}},
	} {
		read(one.flag, one.value, one.want, func(string) bool { return simapi.Config{Envelope: one.envelope}.Validate() == nil })
	}
	return err
}

// checkEffect refuses flags that have no effect.
func (f simFlags) checkEffect(cfg simapi.Config) error {
	switch {
	case f.budget < 0:
		return usageError("--budget %d is negative; write how many calls the account has money for", f.budget)
	case f.budget > 0 && f.balance != "":
		return usageError("--budget and --balance are the same limit; use one of them")
	case f.oauthFor < 0:
		return usageError("--oauth-for %v is negative; write how long a token is valid, as in 1799s", f.oauthFor)
	case f.retryAfter && cfg.Quota.Calls == 0:
		return usageError("--quota-retry-after has no effect without --quota")
	case f.tokenFor != 0 && f.token == "":
		return usageError("--token-for has no effect without --token")
	case f.oauthFor != 0 && f.oauth == "":
		return usageError("--oauth-for has no effect without --oauth")
	}
	return nil
}

// simScript reads a script. With --demo, it replaces the script of the demonstration.
func (a *app) simScript(api, name string) (*simapi.Script, error) {
	text, err := a.readInput(name, 1<<20)
	if err != nil {
		return nil, err
	}
	script, err := simapi.ParseScriptFor(api, string(text))
	var wrong *simapi.ParseError
	if errors.As(err, &wrong) {
		return nil, &exitError{exitUsage, &located{fmt.Sprintf("%s:%d: %s", name, wrong.Line, wrong.Problem)}}
	}
	return script, err
}

// readInput reads a file, or stdin if the name is -. A file that cannot be read, or that has
// more than most bytes, is a usage error.
func (a *app) readInput(name string, most int64) ([]byte, error) {
	source := a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, usageError("%w", fileerror.Explain(err))
		}
		defer f.Close()
		source = f
	}
	data, err := io.ReadAll(io.LimitReader(source, most+1))
	if err != nil {
		return nil, usageError("%s: %w", name, err)
	}
	if int64(len(data)) > most {
		return nil, usageError("%s has more than %d bytes", name, most)
	}
	return data, nil
}

// isLoopback reports whether only this machine can reach a listening address.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func readDuration(text string, into *time.Duration) bool {
	d, err := time.ParseDuration(text)
	*into = d
	return err == nil && d >= 0
}

func readCount(text string, into *int) bool {
	n, err := strconv.Atoi(text)
	*into = n
	return err == nil && n > 0
}

func readAmount(text string, into *float64) bool {
	n, err := strconv.ParseFloat(text, 64)
	*into = n
	return err == nil && n > 0 && n <= 1e12
}

// inLines joins words with commas, in lines of at most width characters.
func inLines(words []string, width int) string {
	var text strings.Builder
	length := 0
	for i, word := range words {
		switch {
		case i == 0:
		case length+len(word) > width:
			text.WriteString(",\n")
			length = 0
		default:
			text.WriteString(", ")
		}
		text.WriteString(word)
		length += len(word) + 2
	}
	return text.String()
}
