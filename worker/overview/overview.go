package overview

import (
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/history"
	"github.com/seed-2903acc3/callq/worker/limit"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// Overview is the state of the queue at one moment. It must not be changed: readers share
// it.
type Overview struct {
	// Now is Redis's clock.
	Now       time.Time  `json:"now"`
	Upstreams []Upstream `json:"upstreams"`
	// Waits are the reasons why calls wait, the one that stops the most calls first.
	Waits []waiting.Reason `json:"waits,omitempty"`
	// Bodies is how many bytes the results in Redis take, MostBodies how many they may
	// take; 0: not known.
	Bodies     int64 `json:"bodies_bytes"`
	MostBodies int64 `json:"max_memory_bytes,omitempty"`
	// RedisMemory is how many bytes Redis uses, as INFO says; 0 on a Cluster, or if this
	// user has no permission for INFO.
	RedisMemory int64 `json:"redis_memory_bytes,omitempty"`
	// Dead is the number of dead letters, DeadGroups that of their groups; Groups are the
	// largest ones, at most 50.
	Dead       int64       `json:"dead"`
	DeadGroups int         `json:"dead_groups"`
	Groups     []DeadGroup `json:"groups,omitempty"`
}

// DeadGroup is a group of dead letters with the same cause.
type DeadGroup struct {
	Name     string `json:"group"`
	Count    int64  `json:"count"`
	Class    string `json:"class"`
	Code     string `json:"error_code,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	// Message is for the end user, Advice for the operator; both are those of the latest
	// member.
	Message   string   `json:"user_message,omitempty"`
	Advice    string   `json:"advice,omitempty"`
	Upstreams []string `json:"upstreams"`
}

// Upstream is the state of one upstream.
type Upstream struct {
	Name string `json:"name"`
	// Configured reports that this process's configuration names it.
	Configured bool `json:"configured"`
	// Workers is how many processes make its calls.
	Workers int     `json:"workers"`
	Circuit Circuit `json:"circuit"`
	// Endpoints are the circuits of endpoints that are open.
	Endpoints []Circuit `json:"endpoints,omitempty"`
	// Queues are its queues, the most urgent first.
	Queues []Queue `json:"queues"`
	// Inflight is how many calls are in progress, Concurrency how many may be; 0: not
	// known.
	Inflight    int64 `json:"inflight"`
	Concurrency int   `json:"concurrency,omitempty"`
	// Waiting is how many calls wait, for whatever reason. Runnable is how many a worker
	// could start now: 0 while the account is held.
	Waiting  int64 `json:"waiting"`
	Runnable int64 `json:"runnable"`
	// OldestRunnable is since when the oldest runnable call could start; zero if there is
	// none.
	OldestRunnable time.Time `json:"oldest_runnable,omitzero"`
	// Limits is the use of its limits and budgets.
	Limits []limit.Usage `json:"limits,omitempty"`
	// Dead is how many dead letters there are, by class.
	Dead map[string]int64 `json:"dead,omitempty"`
	// Minutes are the last 60 minutes, the present one last.
	Minutes []history.Minute `json:"minutes,omitempty"`
}

// Notifications reports whether this is a receiver of callq's notifications, and no API.
func (u Upstream) Notifications() bool { return ledger.IsNotification(u.Name) }

// Queue has the lengths of a queue's lists.
type Queue struct {
	Priority string `json:"priority"`
	// Pending calls can be made now, Active ones are being made, Retry ones wait for their
	// next attempt, and Scheduled ones for their not_before.
	Pending   int64 `json:"pending"`
	Active    int64 `json:"active"`
	Retry     int64 `json:"retry"`
	Scheduled int64 `json:"scheduled"`
	// Paused reports that an operator has paused the queue in asynqmon.
	Paused bool `json:"paused,omitempty"`
}
