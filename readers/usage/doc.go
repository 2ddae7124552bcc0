// Package usage turns foreign bytes into usage batches: the objects of a folder into [rating.Records], column by column,
// and every row that cannot be one into a [rating.Rejected] that says where it stands and why (R4.1, R4.2, R4.4).
//
// What lives here: names, formats, mapping, decoding, and the reasons of R4.4 that a row shows by itself. What does not:
// dropping, ordering, deciding what is late, and finding duplicates or conflicts, which need more than one row.
//
// # Objects
//
// The name decides: .ndjson and .jsonl, .csv, .parquet; the text ones also with .gz or .zst behind. Other names are no
// usage and are listed as ignored; names that start with "." or "_" are passed over in silence. Links are not followed.
//
// Text is UTF-8; a byte order mark at its start is passed over. Rows are counted from 1: NDJSON lines (blank ones are
// counted, but are no rows), CSV records after the header line (a quoted field may hold line breaks, so this is not the
// line number; blank lines are not counted), Parquet rows.
//
// NDJSON: one JSON object a line. Refused as malformed: a key twice in one object, NUL, text that is not UTF-8 or holds
// half a surrogate pair, nesting beyond 32, more than 256 members in an object, a line beyond max_line. Members that
// nobody asks for are ignored. id, account and meter may be numbers, whose literal text counts.
//
// CloudEvents: a line whose specversion is "1.0" is an envelope. What usage.fields does not map comes from it: id is
// source + "/" + id, account is subject, meter is type, quantity is data.quantity, version is the extension attribute of
// that name, and the other members of data that are strings, numbers or booleans are its attributes (nested ones are
// not: the data is the producer's own).
//
// CSV: RFC 4180 with a header line, a comma between fields, LF or CRLF behind lines. An attribute is a column named
// attributes.NAME. An empty field is an absent one. A line with a stray quote or another number of fields is malformed,
// and reading goes on at the next line.
//
// Parquet: columns by name, nested ones by dotted path. Time is a TIMESTAMP of any unit, INT96, a string, or an integer
// with a layout; quantity is an integer, a DECIMAL or a string, and FLOAT or DOUBLE only where the mapping says how to
// round. Attributes are a MAP of strings named attributes, or columns. The file is decoded here, page by page, and not by a
// library: nothing is allocated because a damaged file claims that it needs it (see parquet_file.go, parquet_allowance.go).
// A row whose texts are longer together than max_line is malformed, and so is one with more than 256 attributes.
//
// # Hostile objects
//
// What an object may take is bounded by what it has, whatever it claims: text by usage.max_expansion, where values of
// Parquet count as often as they stand in a row; the pages of a Parquet file by 384 MiB at once, and each by 64 MiB and 16 Mi
// values; its columns of attributes by 256, its columns by 10,000, a column's name by 1 KiB, its footer by 64 MiB; its
// column chunks by the size of the file. An object of which more than 262,144 rows cannot settle, and more than half, is a
// bad object.
//
// # Attributes
//
// A string, or the literal text of a number or a boolean; null is an absent one, anything nested is malformed. Of the
// pairs, those are kept that the catalog's conditions ask for; a hash tells records apart by all of them.
package usage
