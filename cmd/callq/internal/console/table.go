package console

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Table aligns columns.
type Table struct{ w *tabwriter.Writer }

// NewTable starts a table with the names of its columns.
func NewTable(w io.Writer, head ...string) *Table {
	t := &Table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.Row(head...)
	return t
}

// Row adds a row. Each cell is made [Printable], so that it stays on its line.
func (t *Table) Row(cells ...string) {
	safe := make([]string, len(cells))
	for i, cell := range cells {
		safe[i] = Printable(cell)
	}
	fmt.Fprintln(t.w, strings.Join(safe, "\t"))
}

// Flush writes the table.
func (t *Table) Flush() error { return t.w.Flush() }
