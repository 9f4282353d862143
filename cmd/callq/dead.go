package main

import (
	"context"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/deadletters"
	"github.com/seed-2903acc3/callq/worker/jsonform"
	"github.com/spf13/cobra"
)

func (a *app) deadCommand() *cobra.Command {
	return group("dead", "Look at calls that failed for good, and make them again",
		a.deadGroupsCommand(),
		a.deadListCommand(),
		a.deadShowCommand(),
		a.deadRedriveCommand(),
		a.deadPurgeCommand(),
	)
}

func (a *app) deadGroupsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "groups",
		Short: "Group the dead letters by their cause, the largest group first",
		Args:  takes(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			d, err := a.backend(cmd.Context(), "dead")
			if err != nil {
				return err
			}
			defer d.close(&err)
			groups, err := d.client.DeadGroups(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				list := jsonList{w: a.stdout}
				for _, g := range groups {
					if err := list.add(jsonform.DeadGroupOf(g)); err != nil {
						return err
					}
				}
				return list.end()
			}
			if len(groups) == 0 {
				a.progressf("There are no dead letters.")
				return nil
			}
			return a.printGroups(groups)
		},
	}
}

func (a *app) printGroups(groups []tasks.DeadGroup) error {
	t := console.NewTable(a.stdout, "GROUP", "COUNT", "CLASS", "CODE", "ENDPOINT", "MESSAGE", "NEXT STEP")
	for _, g := range groups {
		t.Row(g.Name, console.Grouped(g.Count), g.Class, orDash(g.Code), orDash(g.Endpoint), orDash(g.Message), orDash(g.Advice))
	}
	return t.Flush()
}

// selection says which dead letters a command is for.
type selection struct {
	group   string
	filters []string
	all     bool
	matches []deadletters.Filter
}

// flags adds the flags. changes is for commands that change the dead letters: they need
// --all to select all of them.
func (s *selection) flags(cmd *cobra.Command, changes bool) {
	cmd.Flags().StringVar(&s.group, "group", "", "those of a `GROUP` of callq dead groups")
	cmd.Flags().StringArrayVar(&s.filters, "filter", nil, "those with `KEY=VALUE`; KEY is one of "+strings.Join(deadletters.Keys(), ", ")+"; with several, all must match")
	if changes {
		cmd.Flags().BoolVar(&s.all, "all", false, "all of them")
		exclusive(cmd, false, "group", "filter", "all")
	}
}

// parse parses the filters. Its errors are usage errors.
func (s *selection) parse() error {
	s.matches = nil
	for _, text := range s.filters {
		key, value, err := deadletters.Parse(text)
		if err != nil {
			return usageError("--filter %q: %w", text, err)
		}
		s.matches = append(s.matches, deadletters.Filter{key: value})
	}
	return nil
}

// has reports whether all filters match: a key that is given twice must have both values.
func (s *selection) has(c tasks.CallInfo) bool {
	return !slices.ContainsFunc(s.matches, func(f deadletters.Filter) bool { return !f.Match(c) })
}

// dead returns the filter for the selected dead letters.
func (s *selection) dead(ids ...string) tasks.DeadFilter {
	f := tasks.DeadFilter{IDs: ids, Group: s.group}
	if len(s.matches) > 0 {
		f.Match = s.has
	}
	return f
}

func (a *app) deadListCommand() *cobra.Command {
	s, limit := &selection{}, 0
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, by queue, the oldest first",
		Args:  takes(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := s.parse(); err != nil {
				return err
			}
			if limit < 0 {
				return usageError("--limit %d: write the most to list, or 0 for all", limit)
			}
			d, err := a.backend(cmd.Context(), "dead")
			if err != nil {
				return err
			}
			defer d.close(&err)
			return a.listDead(cmd.Context(), d, s, limit)
		},
	}
	s.flags(cmd, false)
	cmd.Flags().IntVar(&limit, "limit", 0, "list at most `N`; 0 lists all")
	return cmd
}

// tableRows is how many rows are aligned together. A table is in memory until it is
// written.
const tableRows = 500

func (a *app) listDead(ctx context.Context, d *backend, s *selection, limit int) error {
	list, n := jsonList{w: a.stdout}, 0
	var t *console.Table
	for c, err := range d.client.DeadLetters(ctx, s.dead()) {
		if err != nil {
			return err
		}
		if limit > 0 && n == limit {
			a.progressf("There are more; --limit 0 lists all.")
			break
		}
		n++
		if a.json {
			letter, err := jsonform.Letter(c)
			if err != nil {
				return err
			}
			if err := list.add(letter); err != nil {
				return err
			}
			continue
		}
		if n%tableRows == 1 {
			if err := flushed(t); err != nil {
				return err
			}
			t = console.NewTable(a.stdout, "ID", "BATCH", "KEY", "DIED", "CLASS", "CODE", "CORRELATION ID", "ENDPOINT")
		}
		r := c.Result
		t.Row(r.ID, r.Batch, r.Key, timeText(r.FinishedAt), r.Class, orDash(string(r.ErrorCode)), orDash(r.CorrelationID), orDash(c.Endpoint))
	}
	if a.json {
		return list.end()
	}
	if n == 0 {
		a.progressf("There are no such dead letters.")
	}
	return flushed(t)
}

func flushed(t *console.Table) error {
	if t == nil {
		return nil
	}
	return t.Flush()
}
