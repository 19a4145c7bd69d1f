package views

import (
	"fmt"
	"net/http"

	"github.com/tidemill/tidemill/internal/store"
)

// serveStream has a stream of changes come from an instance that holds all rows it can be about: those of a prefix that lies
// on one partition, or of the partition that the client names. Others are merged.
func (h *sharedHandler[K, V]) serveStream(w http.ResponseWriter, r *http.Request, parameters parameters, bound staleness) {
	count := h.view.bridge.Partitions()
	if count == 0 {
		h.sharing.fail(w, -1, ErrNotReady)
		return
	}
	number, one, err := h.streamed(parameters, count)
	switch {
	case err != nil:
		refuse(w, err)
	case !one:
		h.serveMerged(w, r, parameters, bound, count)
	default:
		h.sharing.serve(w, r, h.asking(r, parameters, number, bound), h.local())
	}
}

// streamed returns the one partition that a stream is about, if it is one.
func (h *sharedHandler[K, V]) streamed(p parameters, count int32) (number int32, one bool, err error) {
	if p.has(parameterPartition) {
		number, err = parsePartition(p.text(parameterPartition))
		if err == nil && number >= count {
			err = fmt.Errorf("partition is %d; there are %d, from 0 on", number, count)
		}
		return number, true, err
	}
	if !p.has("prefix") {
		return 0, count == 1, nil
	}
	prefix, err := h.ParsePrefix(p.text("prefix"))
	if err != nil {
		return 0, false, fmt.Errorf("prefix cannot be read: %w", err)
	}
	if number, one = h.view.bridge.Within(prefix, store.PrefixEnd(prefix)); one {
		return number, true, nil
	}
	return 0, count == 1, nil
}
