package store

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// Rows of the engine's own lie under prefix 0, which no store has; see docs/format/store.md.
var (
	formatKey        = []byte{0, 'f'}
	catalogKey       = []byte{0, 'n'}
	checkpointPrefix = []byte{0, 'c'}
)

const (
	// formatVersion is the layout of the rows, and of the directory, that this program writes.
	formatVersion = 1
	// catalogVersion is the newest encoding of the table of names this program reads, and the one it writes.
	catalogVersion = 1
)

// catalog is the table of store names: which number stands for a store in the prefix of its rows. A number is never
// given twice, so that deleting a store is one small write: its name gets a new number and the rows under the old
// one, which nothing finds any more, are removed afterwards.
type catalog struct {
	next    uint64            // the next number to give, above all others
	stores  map[string]uint64 // numbers from 1
	garbage []uint64          // numbers whose rows are still to be removed
}

func newCatalog() *catalog { return &catalog{next: 1, stores: map[string]uint64{}} }

// clone returns a deep copy: the engine changes a copy, writes it, and only then takes it as its own.
func (c *catalog) clone() *catalog {
	return &catalog{next: c.next, stores: maps.Clone(c.stores), garbage: slices.Clone(c.garbage)}
}

// add gives a store the next number.
func (c *catalog) add(store string) {
	c.stores[store] = c.next
	c.next++
}

// appendCatalog appends the encoding of a catalog, the names in order.
func appendCatalog(buffer []byte, c *catalog) []byte {
	start := len(buffer)
	buffer = append(buffer, catalogVersion)
	buffer = binary.AppendUvarint(buffer, c.next)
	buffer = binary.AppendUvarint(buffer, uint64(len(c.stores)))
	for _, name := range slices.Sorted(maps.Keys(c.stores)) {
		buffer = binary.AppendUvarint(buffer, uint64(len(name)))
		buffer = append(buffer, name...)
		buffer = binary.AppendUvarint(buffer, c.stores[name])
	}
	buffer = binary.AppendUvarint(buffer, uint64(len(c.garbage)))
	for _, number := range c.garbage {
		buffer = binary.AppendUvarint(buffer, number)
	}
	return appendChecksum(buffer, start)
}

// decodeCatalog is the inverse of appendCatalog. It fails with ErrCorrupt or ErrNewerFormat. Two stores with one
// number would mix their rows, so that every rule of the table is checked.
func decodeCatalog(data []byte) (*catalog, error) {
	body, err := checkedBody("the table of store names", data, catalogVersion)
	if err != nil {
		return nil, err
	}
	c, ok := parseCatalog(body)
	if !ok {
		return nil, fmt.Errorf("%w: the table of store names does not decode", ErrCorrupt)
	}
	return c, nil
}

func parseCatalog(data []byte) (*catalog, bool) {
	c := newCatalog()
	taken := map[uint64]bool{}
	number := func() (value uint64, ok bool) {
		value, n := binary.Uvarint(data)
		if n <= 0 {
			return 0, false
		}
		data = data[n:]
		return value, true
	}
	take := func() (value uint64, ok bool) {
		value, ok = number()
		if !ok || value == 0 || value >= c.next || taken[value] {
			return 0, false
		}
		taken[value] = true
		return value, true
	}
	var ok bool
	if c.next, ok = number(); !ok || c.next == 0 {
		return nil, false
	}
	count, ok := number()
	if !ok || count > uint64(len(data)) {
		return nil, false
	}
	previous := ""
	for range count {
		var name string
		if name, data, ok = cutName(data); !ok || name <= previous {
			return nil, false
		}
		if c.stores[name], ok = take(); !ok {
			return nil, false
		}
		previous = name
	}
	if count, ok = number(); !ok || count > uint64(len(data)) {
		return nil, false
	}
	for range count {
		value, ok := take()
		if !ok {
			return nil, false
		}
		c.garbage = append(c.garbage, value)
	}
	return c, len(data) == 0
}

// appendFormat appends the record that says in which format the rows are.
func appendFormat(buffer []byte) []byte {
	return appendChecksum(append(buffer, formatVersion), len(buffer))
}

// checkFormat returns ErrCorrupt or ErrNewerFormat for a format record this program cannot go by.
func checkFormat(data []byte) error {
	body, err := checkedBody("the format record", data, formatVersion)
	if err == nil && len(body) != 0 {
		err = fmt.Errorf("%w: the format record has %d bytes too many", ErrCorrupt, len(body))
	}
	return err
}

// checkpointKey returns the key of a changelog's checkpoint.
func checkpointKey(changelog string) []byte {
	return append(slices.Clip(checkpointPrefix), changelog...)
}

// rowPrefix returns what the keys of a store's rows begin with: its number as a uvarint, one byte for the first 127.
// No uvarint is the beginning of another one, so that no store's keys fall into another's range.
func rowPrefix(number uint64) []byte { return binary.AppendUvarint(nil, number) }
