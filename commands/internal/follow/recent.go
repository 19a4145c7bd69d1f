package follow

import "context"

// recent answers from memory what an index was given of late: those who wait ask for nothing else.
type recent struct {
	Index
	memory *Memory
}

// WithRecent returns the index with the outcomes of up to limit commands kept in memory too.
func WithRecent(index Index, limit int) Index {
	return &recent{Index: index, memory: NewMemory(limit)}
}

// Open implements Index. What memory has is dropped: the index may have begun anew.
func (r *recent) Open(ctx context.Context, opening Opening) (Positions, error) {
	positions, err := r.Index.Open(ctx, opening)
	if err != nil {
		return nil, err
	}
	r.memory.reset(opening)
	return positions, nil
}

// Apply implements Index.
func (r *recent) Apply(batch *Batch) error {
	if err := r.Index.Apply(batch); err != nil {
		return err
	}
	return r.memory.Apply(batch)
}

// At implements Index. Where memory covers a place, it has all entries that the index has, or will have in a moment:
// whoever finds none is woken then.
func (r *recent) At(place Place) ([]Entry, error) {
	if r.memory.Covers(place) {
		return r.memory.At(place)
	}
	return r.Index.At(place)
}
