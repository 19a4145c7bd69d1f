package bridge

// offer queues a change, if the watch has begun with the change's partition. It never waits for the reader: what a slow
// one cannot keep up with is conflated, and beyond that left to be found again. The caller holds the feed of the change.
func (w *ViewWatch) offer(change *ViewChange) {
	if w.enqueue(change) {
		w.stir()
	}
}

// enqueue reports whether there is something for the reader to do.
func (w *ViewWatch) enqueue(change *ViewChange) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	part := int(change.Partition)
	if w.single >= 0 {
		if change.Partition != w.single {
			return false
		}
		part = 0
	}
	if part >= w.began || w.behind || w.lost {
		return false
	}
	w.queue = append(w.queue, change)
	w.bytes += change.size()
	pending := w.view.hub.pending.Add(int64(change.size()))
	if len(w.queue) >= w.limit || w.bytes >= w.most || pending >= viewPendingBytes {
		w.conflate(pending)
	}
	return true
}

// conflate leaves only the latest change of each row, which keeps them in the order of their offsets. If too much is left
// nothing is: the reader then goes on from where it stood. The caller holds mu.
func (w *ViewWatch) conflate(pending int64) {
	kept, size := viewLatest(w.queue), 0
	for _, change := range kept {
		size += change.size()
	}
	clear(w.queue[len(kept):])
	w.view.hub.conflated.Add(uint64(len(w.queue) - len(kept)))
	pending -= int64(w.bytes - size)
	w.view.hub.pending.Add(int64(size - w.bytes))
	w.queue, w.bytes = kept, size
	w.limit, w.most = max(viewQueueChanges, 2*len(kept)), max(viewQueueBytes, 2*size)
	// A single change is kept whatever its size: there must be a way for it to be told.
	if len(kept) > viewQueueMost || (len(kept) > 1 && (size > viewQueueMostBytes || pending >= viewPendingBytes)) {
		w.view.hub.pending.Add(-int64(size))
		w.queue, w.bytes, w.behind = nil, 0, true
	}
}

// viewLatest leaves the latest change of each row in place, in the order of the offsets.
func viewLatest(changes []*ViewChange) []*ViewChange {
	latest := make(map[string]int, len(changes))
	for i, change := range changes {
		latest[string(change.Key)] = i
	}
	kept := changes[:0]
	for i, change := range changes {
		if latest[string(change.Key)] == i {
			kept = append(kept, change)
		}
	}
	return kept
}

// stir has the reader look again.
func (w *ViewWatch) stir() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// lose tells that rows of a partition, or of all for -1, may vanish without a change to tell. It does not concern a watch
// that has not begun with the partition.
func (w *ViewWatch) lose(number int32) {
	w.mu.Lock()
	part := int(max(number, 0))
	concerned := true
	if w.single >= 0 {
		part, concerned = 0, number < 0 || number == w.single
	}
	if concerned && part < w.began {
		w.lost = true
	}
	w.mu.Unlock()
	w.stir()
}

// end ends the watch.
func (w *ViewWatch) end() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.stir()
}
