// Package catalog turns catalog files into rating values: YAML, CSV, or rows of a database, with the same fields
// everywhere. It keeps file and line of every field, so that all faults of a catalog are reported at once and each at
// its place (R2.8). What lives here: the notation. What does not: whether a catalog is valid beyond its notation, which
// [rating.Compile] says.
//
// # YAML
//
// A file is one mapping of kinds, each a list of rows:
//
//	accounts: [{id: acme, time_zone: Asia/Shanghai}]
//	meters:   [{id: calls, unit: call}]
//	packages:
//	  - id: p1
//	    account: acme
//	    covers: [{meter: calls, where: {region: [eu, us]}, hours: "22:00-06:00"}]
//	package_changes: [{package: p1, at: 2026-03-05, renewed: {expires: 2026-05-10}}]
//
// Values are taken as written: 1.50, 1e3 and 2026-10-01 are texts until rating reads them. Anchors, aliases and merge
// keys (<<) work; a file may hold one document. A field without a value, or with null, counts as left out.
//
// # CSV
//
// packages.csv holds packages, accounts.csv accounts, and so on for each kind (also packages-2026.csv). The first line
// names the fields, in any order; an empty cell is a field that was left out. Cells of fields that hold more than a text:
//
//	covers      calls          or  calls*2.5;sms  (meter*rate), or what YAML has, in flow style: [{meter: calls, hours: "00:00-08:00"}]
//	tiers       [{up_to: 10, price: 2}, {price: 1}]
//	thresholds  20;0           or  [20, 0]
//	channels    email;sms      or  [email, sms]
//	renewed     2026-05-10     or  {expires: 2026-05-10}; extended likewise
//	resized     500            or  {quota: 500}
//
// # Folders
//
// Of a folder every .yaml, .yml and .csv file in it and below is read, in the order of their names; names that begin with
// a point are skipped. The files together are one catalog, and the order has no effect on it.
package catalog
