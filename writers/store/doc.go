// Package store keeps what drawdown knows between runs, in tables that drawdown owns: the catalog's rows, now and as they
// were, the lease and its fencing token, runs, revisions of periods, closing states, usage objects that were read, and the
// outbox. The tables are explained in migrations/*.sql, which run unchanged on SQLite and PostgreSQL. In what the two
// differ is said by one type, dialect; what PostgreSQL refuses to be written into the catalog, by migrations/postgres.
//
// What lives here: SQL, and the form of what is stored. What does not: rules about money, files and their formats, and
// the decision what to settle.
//
// # How a run becomes true
//
// A run takes the lease ([Store.AcquireLease]), which gives it a token larger than any before. It may put closing states
// into the database ahead ([Store.PutStates]): nothing refers to them yet, and those of a run that failed are swept later
// ([Store.SweepStates]). [Store.Commit] is one transaction that checks the token, writes revisions, states, objects and
// notices, adds up in SQL what it wrote, compares that with the counts of the manifests, and makes the revisions current. A
// run whose lease was taken by another fails there with [ErrFenced].
// A COMMIT whose answer is lost is looked up on another connection, which first waits for the lease's row, and with it
// for the end of the lost transaction: the run is there, or it is committed again, or nobody can be asked and the error
// says so ([UnknownError]). It is never guessed.
//
// # The form of a closing state
//
// The state of all payers of a shard is one value of bytes, not rows: 100,000 packages are a few megabytes that are
// encoded in a fraction of the time that one insert per row takes, they never change, two of them are compared by their
// hashes (which is what a cascade asks), and a shard in which nothing happened is not stored again.
//
//	"DRAWST" version(1 byte = 2)
//	SHA-256 of the content (32 bytes): the name of the state
//	length of the content (8 bytes, little endian)
//	the content, as one zstd frame
//
// The hash is of the content before compression, so that it outlives a change of the compressor. In the content, numbers
// are varints as in encoding/binary (u: unsigned, s: signed, zigzag):
//
//	accounts, meters, packages: three tables of ids. Each: u count; each id: u length that it shares with the id before,
//	                            u length of the rest, the rest. Ascending; all later references are positions in them.
//	u payers, u packages, u counters, u stops, u leftovers in total
//	each payer, ascending:
//	  u account; u flags (1 tracked, 2 arrears); tracked: s high words, then u low words of
//	    cash and of all top-ups so far
//	  u packages; each, ascending:
//	    u package; u stage; u scale; s arms; s cycle; s term start, s term end - term start, s cycle start - term start,
//	    s cycle end - cycle start, s serves from - term start; u count and s ends - term start of terms to come;
//	    s quota, s grant - quota, s grant - remaining, s rolled, s lapsed; 8 bytes (little endian, as all fingerprints)
//	    of its terms; u count and 8 bytes each of changes applied; s lapsed at; raises: u count, each s at - cycle start,
//	    s quantity
//	  u leftovers; each, ascending: u package, u scale, s cycle start, s cycle end - cycle start, s serves from, s lapsed at,
//	    s quota, s quota - left, s rolled, raises as above
//	  u counters; each, ascending: u account, u meter, u scale, s month, s usage, s excess
//	  u stops; each, ascending: u account, u meter, u package, s cycle start
//
// Version 1, which is still read, has neither leftovers nor lapsed at and raises.
//
// Differences wrap around at 64 bits. The same state always gives the same content: everything is in ascending order,
// tables hold just the ids that occur, and varints have their shortest form. Ids are text, so that a state can be read
// with another catalog than the one it was written with, so long as that still has what the state is about.
//
// # The form of a kept catalog
//
// The catalog that a revision was settled with is kept under its hash, in chunks that catalogs share. Its rows are in parts:
// first accounts, meters, prices, and the alert rules for everybody; then for each shard what is bound to the accounts of its
// payers: packages, package_changes, alert_rules and topups. So a settle reads the packages of one shard at a time. In a
// part, the rows of each table (accounts, meters, prices, packages, package_changes, alert_rules, topups), by key as bytes,
// are cut into chunks: a chunk ends with its table, with a row the mixed FNV-1a hash of whose key begins with seven zero bits, or as soon as it
// has 64 KiB. So where it ends is decided by the rows themselves, and an edit changes one chunk or two. A chunk is one
// zstd frame of
//
//	the table's name, then each row: all its columns in the order of the table
//	each text: u length, the bytes
//
// and is named by the SHA-256 of that. The catalog's hash is the SHA-256 of "drawdown catalog 3\n", of its layout as a text
// (u length, the bytes), and of the hashes of its chunks in their order, which its row lists, 32 bytes each. The layout is
// JSON: ends, the number of chunks up to the end of each part; packages, how many there are in all; where, the attributes
// that any package asks for, with their values, which those who read usage must know.
//
// A catalog that an older drawdown has kept has no layout: its rows are one part, and its hash begins with "drawdown catalog
// 2\n" and has the chunks alone. It is still read, and verified under that hash.
//
// # When a kept catalog stands for the tables
//
// Triggers count each statement, or with SQLite each row, that writes to a table of the catalog: the sum of catalog_edit.
// Edits only ever add to it, in their own transactions, so that two snapshots with the same sum see the same tables. The row
// of catalog_current says which kept catalog the tables held at which sum, and by which program and configuration it was
// found to be valid. It may be written at any later time, since it stays true: it counts as long as the sum is the same.
package store
