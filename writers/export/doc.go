// Package export writes what was settled as files for finance: tables as CSV, spreadsheet or Parquet, statements, revenue,
// and FOCUS rows. It reads no settlement; it is given rows. Rules about money live in rating.
//
// # Files
//
// Each file has a manifest beside it, named after it with .manifest.json behind, and written last: a file without one is
// not whole. It tells the file's size and SHA-256, the periods with their revisions, whether anything in it is provisional
// (a period that is not closed, or of a statement: a month that is not whole), the rows, and sums: each column of decimals
// by the meter, unit or currency that it counts. Sums of different currencies are never added up.
//
// # CSV
//
// RFC 4180: UTF-8, a header, CRLF, a cell with a comma, a quote, CR or LF in quotes. Null is an empty cell. A text (and
// nothing else) that begins with = + - @ TAB or CR, after any number of apostrophes, gets an apostrophe in front, lest a
// spreadsheet take it for a formula; whoever reads the file takes one away there. Numbers are exact, without trailing
// zeros; instants are RFC 3339 in UTC.
//
// # Spreadsheet
//
// One workbook: a sheet totals, then a sheet for each table, which goes on in another after 1,048,576 rows. Cells are
// typed. A spreadsheet keeps 15 digits of a number: a decimal that needs more is a cell of text, exact, and counted in
// sheet totals, which states every sum as text too.
//
// # Parquet
//
// One file per table: decimals DECIMAL(38,9) in 16 bytes, instants TIMESTAMP(MICROS, UTC), zstd.
package export
