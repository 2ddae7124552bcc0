// Package settlement writes what settling gave as Parquet files and a manifest, and reads them back to check. It never
// computes a balance. This comment is the specification of the format, version 1.
//
// # Layout
//
// A revision of a period stands in a folder of its own, which nothing refers to before it is committed:
//
//	current.json                                  the current revision of each period: path and SHA-256 of its manifest
//	period=<name>/rev=<revision>-<token>/
//	    lines-<shard>.parquet, charges-…, balances-…, notices-…
//	    quarantine.parquet
//	    manifest.json                             the last file
//
// The token is the run's; no two runs have the same, so no two share a folder. Readers find files through current.json
// and the manifest, never by listing. A shard number has three digits or more. A table has a file for each shard that has
// rows in it; without any, it has one empty file of shard 0, so that its schema can be found. Files are never overwritten.
//
// # Tables
//
// The columns are, in this order; a question mark follows the name of one that may be null:
//
//	lines       period_start payer account meter event_time record_id line_no kind late package? cycle_start? quantity
//	            consumed? remaining_before? remaining_after? price_id? tier? unit_price? per? amount currency
//	            source_object source_row
//	charges     period_start period_end payer account meter month price_id tier? late quantity unit_price? per? amount
//	            currency line_count
//	balances    period_start period_end payer account package cycle_start cycle_end quota opening granted rolled_over
//	            deducted expired revoked closing state
//	notices     period_start kind payer account package? meter? cycle_start? threshold_type? threshold? remaining? at
//	            record_id? dedup_key
//	quarantine  source_object source_row? reason detail record_id? account? meter? raw
//
// Quantities, prices (unit_price, per) and amounts are DECIMAL(38,9) in 16 bytes; period_start, period_end, event_time,
// cycle_start, cycle_end and at are TIMESTAMP(MICROS, UTC); line_no and tier are INT32; line_count and source_row INT64;
// late is a BOOLEAN; raw is bytes; the rest is text.
//
// In lines, package, cycle_start, consumed, remaining_before and remaining_after are null but for a deduction, and
// price_id, tier, unit_price and per but for an excess. In lines and charges, tier is null at a flat or block price,
// unit_price and per at a volume or block price; the currency is the price's, or the account's where nothing is charged.
// In notices, threshold_type and remaining are those of a usage_alert; an expiry_reminder has its days as threshold;
// cycle_start is that of a usage_alert or service_stop. In quarantine, source_row is null for an object as a whole.
//
// # Order
//
// A payer stands in one shard, and a file is sorted by payer; then lines by event_time, account, meter, record_id and
// line_no; charges by account, meter, month, price_id, tier and late; balances by account, package and cycle_start;
// notices by at, kind, package, threshold (high to low), account and meter. Quarantine is sorted by source_object and
// source_row. Texts compare as bytes; null is before any value.
//
// # Encoding
//
// The same rows make the same bytes. A page has 16,384 rows and a row group 16 pages, or fewer once they
// hold 64 MiB, in all columns; the last ones have what is left. Pages are data pages of version 1, compressed with zstd, and have a CRC. Texts and numbers with few values
// are dictionary-encoded, instants and row numbers DELTA_BINARY_PACKED, ids and free texts DELTA_LENGTH_BYTE_ARRAY, the
// rest is PLAIN. Instants, integers and dictionary texts have bounds in the row group's statistics; decimals have none,
// because readers do not agree on how to compare them. There is no key-value metadata.
//
// # Manifest
//
// manifest.json is a [Manifest]: canonical JSON, that is: the fields in the order of the type, two blanks of indent per
// level, a line feed at the end; inputs sorted by key, files by table and shard, meters and currencies by name; decimals
// and instants as strings, hashes as hexadecimal digits, what is absent as an empty string. It has no clock, host or token in it.
package settlement
