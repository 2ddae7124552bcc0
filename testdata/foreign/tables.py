"""Reads tables with every reader, and prints what each found as JSON: rows, types, exact sums, the first and last instant."""

import glob
import json
import sys
from datetime import timezone
from decimal import Decimal, getcontext

import duckdb
import openpyxl
import pandas
import polars
import pyarrow
import pyarrow.compute as compute
import pyarrow.parquet as parquet

getcontext().prec = 60


def text(value):
    """Writes a decimal without trailing zeros, an instant as RFC 3339 in UTC."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        plain = format(value, "f")
        return (plain.rstrip("0").rstrip(".") if "." in plain else plain) or "0"
    return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def with_pyarrow(files, decimal, instant):
    table = pyarrow.concat_tables([parquet.read_table(f) for f in files])
    assert table.schema.field(decimal).type == pyarrow.decimal128(38, 9), table.schema
    assert table.schema.field(instant).type == pyarrow.timestamp("us", tz="UTC"), table.schema
    values = table.column(decimal).to_pylist()
    bounds = compute.min_max(table.column(instant)).as_py()
    return [table.num_rows, text(sum(values, Decimal(0))), text(bounds["min"]), text(bounds["max"])]


def with_polars(files, decimal, instant):
    frame = polars.concat([polars.read_parquet(f) for f in files])
    assert frame.schema[decimal] == polars.Decimal(38, 9), frame.schema
    assert frame.schema[instant] == polars.Datetime("us", "UTC"), frame.schema
    total = frame[decimal].sum()
    return [frame.height, text(total if total is not None else Decimal(0)), text(frame[instant].min()), text(frame[instant].max())]


def with_pandas(files, decimal, instant):
    frame = pandas.concat([pandas.read_parquet(f, dtype_backend="pyarrow") for f in files])
    assert str(frame.dtypes[instant]) == "timestamp[us, tz=UTC][pyarrow]", frame.dtypes
    first, last = (frame[instant].min(), frame[instant].max()) if len(frame) else (None, None)
    return [len(frame), text(sum(frame[decimal], Decimal(0))), text(first), text(last)]


def with_duckdb(files, decimal, instant):
    duckdb.sql("SET TimeZone = 'UTC'")
    kinds = {name: kind for name, kind, *_ in duckdb.sql(f"DESCRIBE SELECT * FROM read_parquet({files!r})").fetchall()}
    assert kinds[decimal] == "DECIMAL(38,9)" and kinds[instant] == "TIMESTAMP WITH TIME ZONE", kinds
    rows, total, first, last = duckdb.sql(
        f"SELECT count(*), coalesce(sum({decimal}), 0), min({instant}), max({instant}) FROM read_parquet({files!r})"
    ).fetchall()[0]
    filtered = duckdb.sql(f"SELECT count(*) FROM read_parquet({files!r}) WHERE {decimal} < 0").fetchall()[0][0]
    negative = sum(1 for (v,) in duckdb.sql(f"SELECT {decimal} FROM read_parquet({files!r})").fetchall() if v < 0)
    assert filtered == negative, (filtered, negative)
    return [rows, text(Decimal(total)), text(first), text(last)]


def with_openpyxl(file, sheet, decimal):
    """Adds up a column of a workbook, cells of text too, and finds what its sheet of totals says of it."""
    book = openpyxl.load_workbook(file)
    rows = list(book[sheet].iter_rows(values_only=True))
    at = rows[0].index(decimal)
    assert all(isinstance(row[at], (int, float, str)) for row in rows[1:]), rows[1]
    total = sum((Decimal(str(row[at])) for row in rows[1:]), Decimal(0))
    stated = [row[5] for row in book["totals"].iter_rows(values_only=True) if row[:2] == (sheet, decimal)]
    return [len(rows) - 1, text(total), text(sum((Decimal(s) for s in stated), Decimal(0)))]


def main():
    answer = {
        "versions": {m.__name__: m.__version__ for m in (pyarrow, polars, pandas, duckdb, openpyxl)},
        "found": {},
    }
    for wanted in sys.argv[1:]:
        name, decimal, instant, pattern = wanted.split("|")
        if pattern.endswith(".xlsx"):
            answer["found"][name] = {"openpyxl": with_openpyxl(pattern, instant, decimal)}
            continue
        files = sorted(glob.glob(pattern))
        answer["found"][name] = {
            reader.__name__.removeprefix("with_"): reader(files, decimal, instant)
            for reader in (with_pyarrow, with_polars, with_pandas, with_duckdb)
        }
    json.dump(answer, sys.stdout)


main()
