package store

import (
	"bufio"
	"errors"
	"os"
	"sync"

	"github.com/syndtr/goleveldb/leveldb/storage"
)

// tableBuffer is how many bytes of a sorted file are written at once. goleveldb makes a system call for each block.
const tableBuffer = 64 << 10

var tableBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, tableBuffer) }}

// tableWriter writes a sorted file through a buffer. It belongs to one goroutine.
type tableWriter struct {
	file   storage.Writer
	buffer *bufio.Writer // nil once closed
}

func newTableWriter(file storage.Writer) *tableWriter {
	buffer := tableBuffers.Get().(*bufio.Writer)
	buffer.Reset(file)
	return &tableWriter{file: file, buffer: buffer}
}

// Write implements storage.Writer.
func (w *tableWriter) Write(data []byte) (int, error) {
	if w.buffer == nil {
		return 0, os.ErrClosed
	}
	return w.buffer.Write(data)
}

// Sync implements storage.Writer: all that was written is on the disk when it returns nil.
func (w *tableWriter) Sync() error {
	if w.buffer == nil {
		return os.ErrClosed
	}
	if err := w.buffer.Flush(); err != nil {
		return err
	}
	return w.file.Sync()
}

// Close implements storage.Writer.
func (w *tableWriter) Close() error {
	if w.buffer == nil {
		return os.ErrClosed
	}
	err := w.buffer.Flush()
	w.buffer.Reset(nil)
	tableBuffers.Put(w.buffer)
	w.buffer = nil
	return errors.Join(err, w.file.Close())
}
