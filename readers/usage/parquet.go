package usage

import (
	"context"
	"errors"
)

func (r *Reader) decodeParquet(ctx context.Context, o Object, file content, to rows) (sum [32]byte, err error) {
	return sum, errors.New("is Parquet, which is not read yet")
}
