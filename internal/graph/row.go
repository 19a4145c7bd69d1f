package graph

import "encoding/binary"

// RowHeader is the number of bytes before the value in a row of a timestamped store.
const RowHeader = 8

// AppendRow appends the beginning of a timestamped store's row, to be followed by the value: the timestamp in milliseconds
// since the epoch, big-endian.
func AppendRow(dst []byte, timestamp int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(timestamp))
}

// SplitRow returns the parts of a timestamped store's row; ok is false if it is too short to be one.
func SplitRow(row []byte) (timestamp int64, value []byte, ok bool) {
	if len(row) < RowHeader {
		return 0, nil, false
	}
	return int64(binary.BigEndian.Uint64(row)), row[RowHeader:], true
}
