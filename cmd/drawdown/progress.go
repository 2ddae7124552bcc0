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

	stage string    // that is being shown
	began time.Time // when it was first heard of
	from  int64     // how far it was then
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
	if kind, _, _ := strings.Cut(stage, " of "); kind != p.stage || done < p.from { // lines of one period, and of the next one, are one stage
		p.stage, p.began, p.from = kind, now, done
	}
	if now.Sub(p.drawn) < 100*time.Millisecond {
		return
	}
	p.drawn, p.shown = now, true
	text := stage
	if total > 0 {
		const cells = 10
		done := min(done, total)
		filled := int(done * cells / total)
		text += fmt.Sprintf(" %s%s %s of %s", strings.Repeat("█", filled), strings.Repeat("░", cells-filled), groupedInt(done), groupedInt(total))
	} else {
		text += " " + groupedInt(done)
	}
	fmt.Fprint(p.w, "\r\x1b[K"+cut(text+p.rate(now, done, total), tableWidth-1))
}

// rate says how fast a stage goes and how long it still takes, once that can be told.
func (p *progress) rate(now time.Time, done, total int64) string {
	took, came := now.Sub(p.began), done-p.from
	if took < time.Second || came < 2 {
		return ""
	}
	text := ""
	if second := int64(float64(came) / took.Seconds()); second > 0 {
		text = ", " + groupedInt(second) + "/s"
	}
	if total > done {
		left := time.Duration(float64(took) * float64(total-done) / float64(came))
		text += ", " + (left + time.Second/2).Truncate(time.Second).String() + " left"
	}
	return text
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
