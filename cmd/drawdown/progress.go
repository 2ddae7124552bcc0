package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// progress shows on a terminal how far a run has come, on one line that goes away. It is safe for concurrent use; on no
// terminal it does nothing.
type progress struct {
	w     io.Writer
	clock func() time.Time

	mu    sync.Mutex
	drawn time.Time
	shown bool
}

// progress is nil where nobody would see it.
func (a *app) progress() *progress {
	if !a.stderrTerminal || a.flags.Quiet {
		return nil
	}
	return &progress{w: a.stderr, clock: a.clock}
}

// report is a jobs.Settle's Progress.
func (p *progress) report(stage string, done, total int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	if now.Sub(p.drawn) < 100*time.Millisecond {
		return
	}
	p.drawn, p.shown = now, true
	text := stage + " " + groupedInt(done)
	if total > 0 {
		const cells = 20
		filled := int(min(done, total) * cells / total)
		text = fmt.Sprintf("%s %s%s %s of %s", stage, strings.Repeat("█", filled), strings.Repeat("░", cells-filled), groupedInt(done), groupedInt(total))
	}
	fmt.Fprint(p.w, "\r\x1b[K"+cut(text, tableWidth-1))
}

// done wipes the line.
func (p *progress) done() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
