package bridge

import (
	"errors"

	"github.com/lovoo/goka/storage"
)

// viewStorage is the face of a partition that goka sees. goka stores nothing through it: the update callback takes whole
// batches. What is left is opening, the offset to go on from, and closing.
type viewStorage struct{ *viewPartition }

// Open opens the local copy.
func (s viewStorage) Open() error { return s.open() }

// Close leaves the local copy open: it outlives goka's session, and the view closes it at the end.
func (s viewStorage) Close() error { return nil }

// GetOffset returns the offset of the last record that the local copy holds, or none when it holds none.
func (s viewStorage) GetOffset(none int64) (int64, error) {
	offset, err := s.resume()
	switch {
	case err != nil:
		s.view.log.Warn("a partition cannot be loaded; trying again", "partition", s.number, "error", err)
		return 0, err
	case offset <= 0:
		return none, nil
	}
	return offset - 1, nil
}

// SetOffset does nothing: the offset was applied with the rows.
func (s viewStorage) SetOffset(int64) error { return nil }

// MarkRecovered does nothing: the partition knows by its position.
func (s viewStorage) MarkRecovered() error { return nil }

// Has, Get and the iterators belong to goka's own query methods, which the view does not use.
func (s viewStorage) Has(key string) (bool, error) {
	value, err := s.Get(key)
	return value != nil, err
}

// Get returns the value of a key, or nil.
func (s viewStorage) Get(key string) ([]byte, error) {
	value, _, _, err := s.get([]byte(key))
	return value, err
}

// Set refuses: only records of the changelog change a view.
func (s viewStorage) Set(string, []byte) error { return errViewReadOnly }

// Delete refuses: only records of the changelog change a view.
func (s viewStorage) Delete(string) error { return errViewReadOnly }

// Iterator refuses: the view has its own.
func (s viewStorage) Iterator() (storage.Iterator, error) { return nil, errViewReadOnly }

// IteratorWithRange refuses: the view has its own.
func (s viewStorage) IteratorWithRange(_, _ []byte) (storage.Iterator, error) {
	return nil, errViewReadOnly
}

var errViewReadOnly = errors.New("a view's storage is changed and walked by the view alone")
