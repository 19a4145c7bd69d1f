package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// levelDB is the Engine on LevelDB. One goroutine at a time writes, under writing; readers share mu with it, which is
// held exclusively only for the moment in which a write's names and checkpoints become visible, to close, and once while a store
// that has become large is opened anew.
type levelDB struct {
	db    *leveldb.DB // changed under writing and mu
	files storage.Storage
	guard *guard // changed with db
	write opt.WriteOptions

	writing sync.Mutex
	raw     leveldb.Batch // reused; guarded by writing
	key     []byte        // reused; guarded by writing
	bytes   []int64       // reused, bytes of a batch by store; guarded by writing
	catalog *catalog      // guarded by writing
	failed  error         // set by the first failed write, after which none is tried; guarded by writing
	options Options       // that db was opened with; guarded by writing
	looked  int64         // journals created when the store's size was last looked at; guarded by writing

	mu          sync.RWMutex
	closed      bool                  // guarded by mu
	prefixes    map[string][]byte     // of the rows of each store; guarded by mu
	checkpoints map[string]Checkpoint // guarded by mu

	iterators openIterators
	buffered  bufferedBytes
}

// OpenLevelDB opens the store in a directory, creating both if need be. It fails with ErrLocked, ErrCorrupt,
// ErrNewerFormat, ErrNotStore, ErrDiskFull or ErrInvalid. What a killed process left half written at the end of the
// journal is dropped; the checkpoints are then those of the last whole batch.
func OpenLevelDB(dir string, options Options) (Engine, error) {
	engine, err := openDirectory(dir, options)
	if err != nil {
		return nil, fmt.Errorf("opening the store in %s: %w", dir, err)
	}
	return engine, nil
}

func openDirectory(dir string, options Options) (*levelDB, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	exists, err := inspect(dir)
	if err != nil {
		return nil, err
	}
	options, _ = options.ofSize(sortedBytesIn(dir))
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, classify(err)
	}
	files, err := lock(dir)
	if err != nil {
		return nil, err
	}
	if exists {
		err = checkMarker(dir)
	} else {
		err = writeMarker(dir)
	}
	if err != nil {
		return nil, errors.Join(classify(err), files.Close())
	}
	return openFiles(files, options)
}

// openFiles opens the store in files and owns them from then on, also when it fails.
func openFiles(files storage.Storage, options Options) (*levelDB, error) {
	guard := &guard{Storage: files}
	db, err := leveldb.Open(guard, options.leveldb())
	if err != nil {
		return nil, errors.Join(classify(err), files.Close())
	}
	engine := &levelDB{
		db: db, files: files, guard: guard, options: options,
		write:       opt.WriteOptions{Sync: options.Sync},
		prefixes:    map[string][]byte{},
		checkpoints: map[string]Checkpoint{},
	}
	engine.buffered.reset(guard)
	if err := engine.load(); err != nil {
		return nil, errors.Join(classify(err), engine.Close())
	}
	return engine, nil
}

// load reads the engine's own rows, or writes the first ones, and finishes a deletion that was cut off.
func (e *levelDB) load() error {
	format, err := e.db.Get(formatKey, nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return e.initialise()
	}
	if err != nil {
		return err
	}
	if err := checkFormat(format); err != nil {
		return err
	}
	table, err := e.db.Get(catalogKey, nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return fmt.Errorf("%w: the table of store names is missing", ErrCorrupt)
	}
	if err != nil {
		return err
	}
	if e.catalog, err = decodeCatalog(table); err != nil {
		return err
	}
	for store, number := range e.catalog.stores {
		e.prefixes[store] = rowPrefix(number)
	}
	if err := e.loadCheckpoints(); err != nil {
		return err
	}
	return e.collectGarbage()
}

// initialise writes the engine's own rows into an empty database.
func (e *levelDB) initialise() error {
	rows := e.db.NewIterator(nil, nil)
	defer rows.Release()
	if rows.Next() {
		return fmt.Errorf("%w: there are rows but no format record", ErrCorrupt)
	}
	if err := rows.Error(); err != nil {
		return err
	}
	e.catalog = newCatalog()
	e.raw.Put(formatKey, appendFormat(nil))
	e.raw.Put(catalogKey, appendCatalog(nil, e.catalog))
	return e.db.Write(&e.raw, &opt.WriteOptions{Sync: true})
}

func (e *levelDB) loadCheckpoints() error {
	rows := e.db.NewIterator(util.BytesPrefix(checkpointPrefix), nil)
	defer rows.Release()
	for rows.Next() {
		name := string(rows.Key()[len(checkpointPrefix):])
		checkpoint, err := decodeCheckpoint(rows.Value())
		if err != nil {
			return fmt.Errorf("reading the checkpoint of %s: %w", name, err)
		}
		if checkpoint.Changelog != name {
			return fmt.Errorf("%w: the checkpoint of %s is stored as that of %s", ErrCorrupt, checkpoint.Changelog, name)
		}
		e.checkpoints[name] = checkpoint
	}
	return rows.Error()
}

// Get implements Engine.
func (e *levelDB) Get(store string, key []byte) (value []byte, found bool, err error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return nil, false, ErrClosed
	}
	prefix, known := e.prefixes[store]
	if !known {
		return nil, false, nil
	}
	var buffer [128]byte
	value, err = e.db.Get(append(append(buffer[:0], prefix...), key...), nil)
	switch {
	case err == nil && value == nil:
		return []byte{}, true, nil
	case err == nil:
		return value, true, nil
	case errors.Is(err, leveldb.ErrNotFound):
		return nil, false, nil
	}
	return nil, false, fmt.Errorf("reading store %s: %w", store, classify(err))
}

// Apply implements Engine.
func (e *levelDB) Apply(batch *Batch) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	if err := e.writable(); err != nil {
		return err
	}
	if err := batch.validate(); err != nil {
		return err
	}
	if batch.empty() {
		return nil
	}
	added := e.translate(batch)
	err := e.commit()
	if err != nil {
		return fmt.Errorf("applying a batch of %d operations: %w", batch.Len(), err)
	}
	e.buffered.add(e.guard, e.bytes)
	e.show(batch, added)
	if e.failed = e.grow(); e.failed != nil {
		return e.failed
	}
	return nil
}

// show makes the names and checkpoints of a batch visible that is written.
func (e *levelDB) show(batch *Batch, added *catalog) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if added != nil {
		e.catalog = added
		for _, name := range batch.stores {
			e.prefixes[name] = rowPrefix(added.stores[name])
		}
	}
	for i := range batch.checkpoints {
		e.checkpoints[batch.checkpoints[i].Changelog] = batch.checkpoints[i]
	}
}

// writable returns why nothing may be written, if so.
func (e *levelDB) writable() error {
	if e.failed != nil {
		return fmt.Errorf("an earlier write failed; close the store and open it again: %w", e.failed)
	}
	return nil
}

// commit writes e.raw. A failure is final: part of the batch may be in the journal, and a batch behind it would be
// taken for damage.
func (e *levelDB) commit() error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return ErrClosed
	}
	if err := e.db.Write(&e.raw, &e.write); err != nil {
		e.failed = classify(err)
		return e.failed
	}
	return nil
}

const (
	// maxReusedBatch bounds the memory a batch keeps for the next one.
	maxReusedBatch = 1 << 20
	// batchOverhead is the most an operation takes in LevelDB's batch besides its key and value.
	batchOverhead = 1 + 2*binary.MaxVarintLen32 + binary.MaxVarintLen64
)

// resetRaw empties e.raw and makes room for a batch, so that it need not grow step by step.
func (e *levelDB) resetRaw(batch *Batch) {
	need := len(batch.data) + batchOverhead*len(batch.operations)
	if have := cap(e.raw.Dump()); have < need || have > maxReusedBatch && need < maxReusedBatch {
		e.raw = *leveldb.MakeBatch(need + need/4)
	}
	e.raw.Reset()
}

// translate turns a batch into LevelDB's in e.raw and counts its bytes in e.bytes, by number of the store. It returns
// the catalog that knows the batch's new stores, or nil if there are none.
func (e *levelDB) translate(batch *Batch) (added *catalog) {
	e.resetRaw(batch)
	names := e.catalog
	for _, store := range batch.stores {
		if _, known := names.stores[store]; known {
			continue
		}
		if added == nil {
			added = e.catalog.clone()
			names = added
		}
		added.add(store)
	}
	if added != nil {
		e.raw.Put(catalogKey, appendCatalog(nil, added))
	}
	e.bytes = append(e.bytes[:0], make([]int64, names.next)...)
	e.translateOperations(batch, names)
	for i := range batch.checkpoints {
		checkpoint := &batch.checkpoints[i]
		e.key = appendCheckpoint(e.key[:0], checkpoint)
		e.raw.Put(checkpointKey(checkpoint.Changelog), e.key)
	}
	return added
}

func (e *levelDB) translateOperations(batch *Batch, names *catalog) {
	current, prefix, number := -1, 0, uint64(0)
	start := uint32(0)
	for i := range batch.operations {
		operation := &batch.operations[i]
		if int(operation.store) != current {
			current = int(operation.store)
			number = names.stores[batch.stores[current]]
			e.key = append(e.key[:0], rowPrefix(number)...)
			prefix = len(e.key)
		}
		e.key = append(e.key[:prefix], batch.data[start:operation.keyEnd]...)
		if operation.delete {
			e.raw.Delete(e.key)
		} else {
			e.raw.Put(e.key, batch.data[operation.keyEnd:operation.valueEnd])
			e.bytes[number] += int64(operation.valueEnd - start)
		}
		start = operation.valueEnd
	}
}

// Checkpoint implements Engine.
func (e *levelDB) Checkpoint(changelog string) (Checkpoint, bool) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	checkpoint, found := e.checkpoints[changelog]
	return checkpoint, found
}

// Checkpoints implements Engine.
func (e *levelDB) Checkpoints() map[string]Checkpoint {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return maps.Clone(e.checkpoints)
}

// Size implements Engine.
func (e *levelDB) Size(store string) (bytes int64, err error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return 0, ErrClosed
	}
	prefix, known := e.prefixes[store]
	if !known {
		return 0, nil
	}
	sizes, err := e.db.SizeOf([]util.Range{*util.BytesPrefix(prefix)})
	if err != nil {
		return 0, fmt.Errorf("measuring store %s: %w", store, classify(err))
	}
	return sizes.Sum() + e.buffered.of(e.guard, prefix), nil
}

// Close implements Engine.
func (e *levelDB) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	e.iterators.releaseAll() // LevelDB must not be closed under an iterator
	closed := e.db.Close()
	if errors.Is(closed, leveldb.ErrClosed) {
		closed = nil // it could not be opened anew
	}
	if err := errors.Join(classify(closed), classify(e.files.Close())); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}
