package export

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
)

const (
	parquetBatch = 4096    // rows that are handed on at a time, always
	parquetGroup = 1 << 20 // cells of a row group, about: what is kept in memory
)

type parquetWriter struct {
	to    *parquet.GenericWriter[any]
	table *Table
	rows  []parquet.Row
	batch int
	group int
	bytes []byte // of the batch's decimals
}

// ordered is a group of columns in the order of the table; the library's own sorts them by name.
type ordered struct {
	parquet.Group
	fields []parquet.Field
}

func (o ordered) Fields() []parquet.Field { return o.fields }

func schemaOf(t *Table) *parquet.Schema {
	group := parquet.Group{}
	for i := range t.Columns {
		group[t.Columns[i].Name] = nodeOf(&t.Columns[i])
	}
	byName := map[string]parquet.Field{}
	for _, f := range group.Fields() {
		byName[f.Name()] = f
	}
	o := ordered{Group: group}
	for i := range t.Columns {
		o.fields = append(o.fields, byName[t.Columns[i].Name])
	}
	return parquet.NewSchema("schema", o)
}

func nodeOf(c *Column) parquet.Node {
	var node parquet.Node
	switch c.Kind {
	case Decimal:
		node = parquet.Decimal(9, 38, parquet.FixedLenByteArrayType(16))
	case Instant:
		node = parquet.Timestamp(parquet.Microsecond)
	case Integer:
		node = parquet.Int(64)
	case Boolean:
		node = parquet.Leaf(parquet.BooleanType)
	default:
		node = parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
	}
	if c.Nullable {
		return parquet.Optional(node)
	}
	return node
}

func newParquet(w io.Writer, t *Table) (*parquetWriter, error) {
	p := &parquetWriter{table: t, rows: make([]parquet.Row, parquetBatch), bytes: make([]byte, 0, parquetBatch*16*len(t.Columns))}
	for i := range p.rows {
		p.rows[i] = make(parquet.Row, 0, len(t.Columns))
	}
	options := []parquet.WriterOption{
		schemaOf(t), parquet.Compression(&parquet.Zstd), parquet.CreatedBy("drawdown", "", ""),
	}
	for i := range t.Columns { // readers do not agree on how to compare decimals
		if t.Columns[i].Kind == Decimal {
			options = append(options, parquet.SkipPageBounds(t.Columns[i].Name))
		}
	}
	p.to = parquet.NewGenericWriter[any](w, options...)
	return p, nil
}

func (p *parquetWriter) write(row []Value) error {
	r := p.rows[p.batch][:0]
	for i := range row {
		level := 0
		if p.table.Columns[i].Nullable && !row[i].Null {
			level = 1
		}
		r = append(r, p.value(p.table.Columns[i].Kind, &row[i]).Level(0, level, i))
	}
	p.rows[p.batch] = r
	p.batch++
	if p.batch == parquetBatch {
		return p.flush()
	}
	return nil
}

func (p *parquetWriter) value(kind Kind, v *Value) parquet.Value {
	switch {
	case v.Null:
		return parquet.NullValue()
	case kind == Decimal:
		n := len(p.bytes)
		p.bytes = binary.BigEndian.AppendUint64(p.bytes, uint64(v.Decimal.Hi))
		p.bytes = binary.BigEndian.AppendUint64(p.bytes, v.Decimal.Lo)
		return parquet.FixedLenByteArrayValue(p.bytes[n:])
	case kind == Boolean:
		return parquet.BooleanValue(v.Int != 0)
	case kind == Text:
		return parquet.ByteArrayValue([]byte(v.Text))
	}
	return parquet.Int64Value(v.Int)
}

func (p *parquetWriter) flush() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("write Parquet: %v", r)
		}
	}()
	if _, err := p.to.WriteRows(p.rows[:p.batch]); err != nil {
		return err
	}
	p.group += p.batch * len(p.table.Columns)
	p.batch, p.bytes = 0, p.bytes[:0]
	if p.group >= parquetGroup {
		p.group = 0
		return p.to.Flush()
	}
	return nil
}

func (p *parquetWriter) end() error {
	if err := p.flush(); err != nil {
		return err
	}
	return p.to.Close()
}
