// Package schedule says when jobs run: it reads cron entries, finds the instants at which they are due, and runs jobs then,
// each never more than once at a time, until it is told to stop. What is due within a job the job finds out by itself, from
// the database: a tick only wakes it, so that ticks that were missed, or came twice, change nothing.
//
// What does not live here: what a job does, a configuration, a log, the wall clock.
package schedule
