package store

import (
	"fmt"
	"slices"

	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// DeleteStore implements Engine.
func (e *levelDB) DeleteStore(store, changelog string) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	if err := e.writable(); err != nil {
		return err
	}
	if err := e.abandon(store, changelog); err != nil {
		return fmt.Errorf("deleting store %s: %w", store, err)
	}
	if err := e.collectGarbage(); err != nil {
		return fmt.Errorf("deleting the rows of store %s: %w", store, err)
	}
	return nil
}

// abandon gives the store a new number, under which there are no rows, and removes the checkpoint.
func (e *levelDB) abandon(store, changelog string) error {
	changed := e.catalog.clone()
	e.raw.Reset()
	e.raw.Delete(checkpointKey(changelog))
	number, known := changed.stores[store]
	if known {
		changed.garbage = append(changed.garbage, number)
		changed.add(store)
		e.raw.Put(catalogKey, appendCatalog(nil, changed))
	}
	if err := e.commit(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.catalog = changed
	if known {
		e.prefixes[store] = rowPrefix(changed.stores[store])
	}
	delete(e.checkpoints, changelog)
	return nil
}

// deletesPerBatch bounds the batches in which the rows of a deleted store are removed.
const deletesPerBatch = 4096

// collectGarbage removes the rows of deleted stores and then their numbers from the catalog.
func (e *levelDB) collectGarbage() error {
	for len(e.catalog.garbage) > 0 {
		number := e.catalog.garbage[0]
		if err := e.deleteRows(rowPrefix(number)); err != nil {
			return err
		}
		changed := e.catalog.clone()
		changed.garbage = slices.Delete(changed.garbage, 0, 1)
		e.raw.Reset()
		e.raw.Put(catalogKey, appendCatalog(nil, changed))
		if err := e.commit(); err != nil {
			return err
		}
		e.catalog = changed
		e.buffered.forget(number)
	}
	return nil
}

func (e *levelDB) deleteRows(prefix []byte) error {
	span := util.BytesPrefix(prefix)
	rows := e.db.NewIterator(span, &opt.ReadOptions{DontFillCache: true})
	defer rows.Release()
	some := false
	for more := true; more; {
		e.raw.Reset()
		for e.raw.Len() < deletesPerBatch {
			if more = rows.Next(); !more {
				break
			}
			e.raw.Delete(rows.Key())
		}
		if e.raw.Len() == 0 {
			break
		}
		some = true
		if err := e.commit(); err != nil {
			return err
		}
	}
	if err := rows.Error(); err != nil {
		return classify(err)
	}
	if !some {
		return nil
	}
	rows.Release()
	return classify(e.db.CompactRange(*span)) // else the space is given back only when something is written nearby
}
