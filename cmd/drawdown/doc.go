// Command drawdown settles metered usage against prepaid packages, as a batch job.
//
// What lives in this package is about a process: flags, the configuration (one struct, strict keys), plugging readers,
// jobs and writers together by hand, signals, exit codes, and what a person sees. One file per command. What does not: any
// decision about money, any query, any file format.
//
// The clock is read here and nowhere else; everything below is told the time.
package main
