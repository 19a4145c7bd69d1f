package store

import (
	"bytes"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/syndtr/goleveldb/leveldb/storage"
)

// disk is a file system in memory for one store. It can be copied while it is in use, as a killed process would
// leave it, and it can be full.
type disk struct {
	mu      sync.Mutex
	meta    storage.FileDesc            // what CURRENT names; guarded by mu
	content map[storage.FileDesc][]byte // guarded by mu
	limited bool                        // guarded by mu
	free    int                         // bytes that can still be written if limited; guarded by mu
	hold    chan struct{}               // if not nil, sorted files are created only once it is closed
}

func newDisk() *disk { return &disk{content: map[storage.FileDesc][]byte{}} }

// crash returns a copy, with nothing held up and no limit.
func (d *disk) crash() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	content := map[storage.FileDesc][]byte{}
	for fd, bytes := range d.content {
		content[fd] = bytes[:len(bytes):len(bytes)]
	}
	return &disk{meta: d.meta, content: content}
}

// with returns a copy with the content of one file changed, or without the file if content is nil.
func (d *disk) with(fd storage.FileDesc, content []byte) *disk {
	changed := d.crash()
	if content == nil {
		delete(changed.content, fd)
	} else {
		changed.content[fd] = content[:len(content):len(content)]
	}
	return changed
}

// limit lets so many more bytes be written.
func (d *disk) limit(free int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limited, d.free = true, free
}

// Lock implements storage.Storage.
func (d *disk) Lock() (storage.Locker, error) { return d, nil }

// Unlock implements storage.Locker.
func (d *disk) Unlock() {}

// Log implements storage.Storage.
func (d *disk) Log(string) {}

// Close implements storage.Storage.
func (d *disk) Close() error { return nil }

// SetMeta implements storage.Storage.
func (d *disk) SetMeta(fd storage.FileDesc) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.meta = fd
	return nil
}

// GetMeta implements storage.Storage.
func (d *disk) GetMeta() (storage.FileDesc, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, found := d.content[d.meta]; !found {
		return storage.FileDesc{}, os.ErrNotExist
	}
	return d.meta, nil
}

// List implements storage.Storage.
func (d *disk) List(kind storage.FileType) ([]storage.FileDesc, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []storage.FileDesc
	for _, fd := range slices.Collect(maps.Keys(d.content)) {
		if fd.Type&kind != 0 {
			found = append(found, fd)
		}
	}
	return found, nil
}

// Open implements storage.Storage.
func (d *disk) Open(fd storage.FileDesc) (storage.Reader, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	content, found := d.content[fd]
	if !found {
		return nil, os.ErrNotExist
	}
	return prefixReader{bytes.NewReader(content)}, nil
}

// Create implements storage.Storage.
func (d *disk) Create(fd storage.FileDesc) (storage.Writer, error) {
	if fd.Type == storage.TypeTable && d.hold != nil {
		<-d.hold
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.limited && d.free <= 0 {
		return nil, &os.PathError{Op: "open", Path: fd.String(), Err: syscall.ENOSPC}
	}
	d.content[fd] = nil
	return &diskWriter{disk: d, fd: fd}, nil
}

// Remove implements storage.Storage.
func (d *disk) Remove(fd storage.FileDesc) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, found := d.content[fd]; !found {
		return os.ErrNotExist
	}
	delete(d.content, fd)
	return nil
}

// Rename implements storage.Storage.
func (d *disk) Rename(from, to storage.FileDesc) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.content[to] = d.content[from]
	delete(d.content, from)
	return nil
}

type diskWriter struct {
	disk *disk
	fd   storage.FileDesc
}

// Write writes what there is room for.
func (w *diskWriter) Write(data []byte) (int, error) {
	w.disk.mu.Lock()
	defer w.disk.mu.Unlock()
	n := len(data)
	if w.disk.limited {
		n = min(n, w.disk.free)
		w.disk.free -= n
	}
	w.disk.content[w.fd] = append(w.disk.content[w.fd], data[:n]...)
	if n < len(data) {
		return n, &os.PathError{Op: "write", Path: w.fd.String(), Err: syscall.ENOSPC}
	}
	return n, nil
}

// Sync implements storage.Syncer.
func (w *diskWriter) Sync() error { return nil }

// Close implements storage.Writer.
func (w *diskWriter) Close() error { return nil }
