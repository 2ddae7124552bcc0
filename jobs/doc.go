// Package jobs says when things happen, in what order, how many at once, what if one fails, and what commits: settle,
// and what goes with it. It declares the small interfaces that it needs and is given their implementations by
// cmd/drawdown. What does not live here: a rule about money, a query, a file format.
//
// A job gathers, computes and commits: all reads come first, then pure computation, then all writes, and one
// transaction makes them true.
package jobs
