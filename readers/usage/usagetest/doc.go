// Package usagetest makes usage objects that mean harm: damaged Parquet files, small objects that expand without end, and
// rows that are none. Those who read usage are tested with them.
package usagetest
