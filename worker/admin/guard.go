package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/admin/access"
)

// guard handles the requests by which asynq's dashboard changes tasks. asynq does not
// update the ledger: a task that it deletes would leave a call open for ever, and a task
// that it runs from its archive is dead in the ledger and would be discarded. So deleting
// or archiving a waiting task cancels the call, or ends it as outcome_unknown if it may
// have been sent. Running an archived task redrives the call. Changes that would make the
// ledger wrong are refused with the reason.
func (h *handler) guard(board http.Handler, w http.ResponseWriter, r *http.Request) {
	queue, list, task := splitRoute(strings.TrimPrefix(r.URL.Path, monitorRoot+"api/queues/"))
	kind, op, _ := strings.Cut(list, ":")
	id := task
	if task != "" {
		if id, op, _ = strings.Cut(task, ":"); op == "" {
			op = "delete"
		}
	}
	waiting := kind == "pending_tasks" || kind == "scheduled_tasks" || kind == "retry_tasks"
	switch {
	case !strings.HasPrefix(r.URL.Path, monitorRoot+"api/queues/"):
		refuse(w, "callq does not use this function of asynq")
	case list == "" && (strings.HasSuffix(queue, ":pause") || strings.HasSuffix(queue, ":resume")):
		board.ServeHTTP(w, r)
	case list == "":
		refuse(w, "a queue cannot be deleted: its calls would be lost. Cancel them by batch: callq batch cancel NAME")
	case kind == "active_tasks":
		refuse(w, "a call that a worker is making cannot be cancelled: it would be made twice; wait until it ends")
	case waiting && (op == "run" || op == "batch_run" || op == "run_all"):
		board.ServeHTTP(w, r)
	case waiting && (op == "delete" || op == "archive"):
		h.changeOne(board, w, r, queue, id, h.cancel)
	case waiting && op == "batch_delete":
		h.changeMany(w, r, queue, "deleted_ids", "failed_ids", h.cancel)
	case waiting && op == "batch_archive":
		h.changeMany(w, r, queue, "archived_ids", "error_ids", h.cancel)
	case waiting:
		refuse(w, "this cannot be done for all calls of a queue; cancel the calls of a batch: callq batch cancel NAME")
	case kind == "archived_tasks" && op == "run":
		h.changeOne(board, w, r, queue, id, h.redrive)
	case kind == "archived_tasks" && op == "batch_run":
		h.changeMany(w, r, queue, "pending_ids", "error_ids", h.redrive)
	case kind == "archived_tasks" && op == "run_all":
		board.ServeHTTP(w, r) // the workers redrive the calls when they dequeue the tasks
	case kind == "archived_tasks" || kind == "completed_tasks":
		board.ServeHTTP(w, r) // these lists are a view; the ledger does not change
	default:
		refuse(w, "callq does not use this function of asynq")
	}
}

// splitRoute splits QUEUE[/LIST[/TASK]].
func splitRoute(route string) (queue, list, task string) {
	queue, list, _ = strings.Cut(route, "/")
	list, task, _ = strings.Cut(list, "/")
	return queue, list, task
}

func refuse(w http.ResponseWriter, why string) { writeText(w, http.StatusConflict, why) }

// changeOne changes one call. It passes the request for a task without a call to asynq's
// dashboard.
func (h *handler) changeOne(board http.Handler, w http.ResponseWriter, r *http.Request, queue, id string, change func(context.Context, string) error) {
	_, err := h.cfg.Ledger.Get(r.Context(), queue, id)
	if errors.Is(err, ledger.ErrNoCall) {
		board.ServeHTTP(w, r)
		return
	}
	if err == nil {
		err = change(r.Context(), id)
	}
	switch why := refusal(err); {
	case why != "":
		refuse(w, why)
	case err != nil:
		h.unavailable(w, "change the call", err)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// changeMany changes several calls and answers as asynqmon's page expects it.
func (h *handler) changeMany(w http.ResponseWriter, r *http.Request, queue, changed, failed string, change func(context.Context, string) error) {
	var request struct {
		IDs []string `json:"task_ids"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&request); err != nil {
		writeText(w, http.StatusBadRequest, `send {"task_ids":["…"]}`)
		return
	}
	answer := map[string][]string{changed: {}, failed: {}}
	for _, id := range request.IDs {
		_, err := h.cfg.Ledger.Get(r.Context(), queue, id)
		if err == nil {
			err = change(r.Context(), id)
		}
		if err != nil {
			h.log.Warn("asynqmon could not change a call", "call", id, "error", err)
			answer[failed] = append(answer[failed], id)
			continue
		}
		answer[changed] = append(answer[changed], id)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // an error means that the client has gone
}

// refusal returns why the ledger refused the change; empty for any other error.
func refusal(err error) string {
	switch {
	case errors.Is(err, tasks.ErrBusy):
		return "a worker is making the call; try again in a minute"
	case errors.Is(err, tasks.ErrPurged):
		return "the call was purged and cannot be made again"
	case errors.Is(err, tasks.ErrOpen), errors.Is(err, tasks.ErrDone), errors.Is(err, tasks.ErrEnded), errors.Is(err, tasks.ErrChanged):
		return err.Error()
	}
	return ""
}

func (h *handler) cancel(ctx context.Context, id string) error {
	_, err := h.cfg.Client.Cancel(ctx, id, tasks.Cancellation{Message: "cancelled in asynqmon by " + access.Who(ctx)})
	return err
}

func (h *handler) redrive(ctx context.Context, id string) error { return h.cfg.Client.Redrive(ctx, id) }
