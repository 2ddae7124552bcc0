// Package rating settles the usage of one payer in one period: it decides which package covers which unit, what the
// rest costs, which alerts fire and what is left.
//
// What lives here would still be true with paper and pencil: quantities, money, cycles, deduction order, prices,
// crossings and the invariants that every result must satisfy. All domain types live here. What does not: anything
// that reads, writes, waits, logs or asks for the time. The package imports the standard library only, holds no
// float, starts no goroutine, and gives the same answer for the same arguments for ever.
//
// The way through it: a [Draft] is the catalog as rows of text; [Compile] checks it and makes a [Catalog]; a [Settler]
// takes a payer's opening [PayerState] and its records in canonical order, column batch by column batch, and gives
// [Line]s, [Charge]s, [Balance]s, [Notice]s and the closing state. Rules are named as in docs/rules.md (R3.4).
package rating
