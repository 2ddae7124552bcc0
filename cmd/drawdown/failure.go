package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// The exit codes (docs/operations.md).
const (
	exitDone        = 0   // done, or nothing to do
	exitFailed      = 1   // failed; nothing was committed
	exitUsage       = 2   // wrong usage, config or catalog
	exitWaiting     = 3   // done, but something waits for a person
	exitHeld        = 4   // another run holds the lease
	exitInterrupted = 130 // by a signal
)

// failure is an error with what a process adds to it.
type failure struct {
	op   string // what was being done
	err  error
	hint string // what to do next; may be empty
	code int    // 0 is exitFailed
}

func (f *failure) Error() string { return f.op + ": " + f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// Hint says what to do next.
func (f *failure) Hint() string { return f.hint }

// ExitCode is the process's exit code.
func (f *failure) ExitCode() int {
	if f.code == 0 {
		return exitFailed
	}
	return f.code
}

// isMissing tells whether an error is a file that is not there.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// waiting is not a failure: what was asked for is done, but something waits for a person.
type waiting struct{ what string }

func (w *waiting) Error() string { return w.what }

func (w *waiting) ExitCode() int { return exitWaiting }

// report prints an error and gives the exit code that belongs to it. Any error may bring along an exit code or a hint.
func report(ctx context.Context, err error, stderr io.Writer) int {
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "drawdown: interrupted; run the same command again to go on")
		return exitInterrupted
	}
	code := exitFailed
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		code = coded.ExitCode()
	}
	fmt.Fprintln(stderr, "drawdown: "+strings.TrimSpace(err.Error()))
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		fmt.Fprintln(stderr, "hint: "+hinted.Hint())
	}
	return code
}
