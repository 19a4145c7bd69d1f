package views

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	json "encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/internal/store"
)

// headerPartitions names, in a request between instances, the partitions whose rows are asked for.
const headerPartitions = "Tidemill-Partitions"

// contentTypePart is the media type of one instance's part of an answer: docs/format/sharing.md.
const contentTypePart = "application/vnd.tidemill.part"

// maxPartHead and maxPartRow bound what is read of a part: the line of JSON before the rows, and a key or row.
const (
	maxPartHead = 16 << 20
	maxPartRow  = 64 << 20
)

var errPart = errors.New("malformed part of an answer")

// part is what one instance has to say to a query about some of the partitions.
type part struct {
	// Partitions are those that it speaks for.
	Partitions []partStanding `json:"partitions"`
	// Missing are those asked for that it cannot speak for now.
	Missing []int32 `json:"missing,omitzero"`
	// Count is the number of rows, where that was asked for.
	Count int64 `json:"count,omitzero"`
	// More says that there are more rows than these within what was asked for.
	More bool `json:"more,omitzero"`

	rows []partRow
}

// partStanding says what state of a partition a part was given from.
type partStanding struct {
	Partition int32 `json:"partition"`
	// Position is a changelog position that the rows are not older than.
	Position int64 `json:"position"`
	// Lag is how many offsets that is behind the changelog.
	Lag int64 `json:"lag"`
	// Age is how long ago, in seconds, the copy was known to hold everything that had happened; less than 0 is not known.
	Age float64 `json:"age"`
}

// partRow is a row with its key's encoding, by which parts are merged.
type partRow struct{ key, row []byte }

// append appends the part's encoding: a line of JSON, then each row's key and body with their lengths before them.
func (p *part) append(dst []byte) ([]byte, error) {
	head, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding a part: %w", err)
	}
	dst = append(append(dst, head...), '\n')
	for _, r := range p.rows {
		dst = append(binary.AppendUvarint(dst, uint64(len(r.key))), r.key...)
		dst = append(binary.AppendUvarint(dst, uint64(len(r.row))), r.row...)
	}
	return dst, nil
}

// readPart reads what append wrote. The error wraps errPart, or is the reader's.
func readPart(r io.Reader) (*part, error) {
	reader := bufio.NewReaderSize(r, 32<<10)
	var head []byte
	for {
		piece, err := reader.ReadSlice('\n')
		head = append(head, piece...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) || len(head) > maxPartHead {
			return nil, fmt.Errorf("%w: its head: %w", errPart, err)
		}
	}
	p := &part{}
	if err := json.Unmarshal(head, p); err != nil {
		return nil, fmt.Errorf("%w: %w", errPart, err)
	}
	for {
		key, err := readPiece(reader)
		if errors.Is(err, io.EOF) {
			return p, nil
		}
		if err != nil {
			return nil, err
		}
		row, err := readPiece(reader)
		if err != nil {
			return nil, fmt.Errorf("%w: a key without a row: %w", errPart, err)
		}
		p.rows = append(p.rows, partRow{key, row})
	}
}

// readPiece reads bytes with their length before them. io.EOF says that there are no more.
func readPiece(reader *bufio.Reader) ([]byte, error) {
	if _, err := reader.Peek(1); err != nil {
		return nil, err
	}
	length, err := binary.ReadUvarint(reader)
	if err != nil || length > maxPartRow {
		return nil, fmt.Errorf("%w: a length of %d: %w", errPart, length, errors.Join(err))
	}
	var piece []byte
	if length <= 64<<10 {
		piece = make([]byte, length)
		_, err = io.ReadFull(reader, piece)
	} else if piece, err = io.ReadAll(io.LimitReader(reader, int64(length))); err == nil && uint64(len(piece)) < length {
		err = io.ErrUnexpectedEOF // a length is believed only as far as there are bytes
	}
	if err != nil {
		return nil, fmt.Errorf("%w: cut off: %w", errPart, errors.Join(err, io.ErrUnexpectedEOF))
	}
	return piece, nil
}

// servePart answers another instance's request for its part.
func (h *sharedHandler[K, V]) servePart(w http.ResponseWriter, r *http.Request, parameters parameters, bound staleness) {
	numbers, err := parseNumbers(r.Header.Get(headerPartitions))
	if err != nil {
		refuse(w, err)
		return
	}
	q, err := h.gathering(r, parameters, bound)
	if err != nil {
		refuse(w, err)
		return
	}
	p, status := h.part(w, r, q, numbers)
	if p == nil {
		h.view.log.Debug("a part of an answer could not be given", "status", status)
		return
	}
	body, err := p.append(nil)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", contentTypePart)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	// The other instance is gone when this fails; nobody is left to be told.
	_, _ = w.Write(body)
}

// parseNumbers reads a list of partitions.
func parseNumbers(text string) (numbers []int32, err error) {
	for item := range strings.SplitSeq(text, ",") {
		number, err := strconv.ParseInt(item, 10, 32)
		if err != nil || number < 0 {
			return nil, fmt.Errorf("the header %s has %q; want partitions, comma-separated", headerPartitions, item)
		}
		numbers = append(numbers, int32(number))
	}
	return numbers, nil
}

// part gives this instance's part of an answer about some partitions. It returns nil after it has answered with an error.
func (h *sharedHandler[K, V]) part(w http.ResponseWriter, r *http.Request, q gathering[K], numbers []int32) (p *part, status int) {
	p = &part{}
	ages := make([]time.Duration, len(numbers))
	failures := make([]error, len(numbers))
	ctx, cancel := context.WithTimeout(r.Context(), q.wait)
	defer cancel()
	var group sync.WaitGroup
	for i, number := range numbers {
		group.Go(func() { ages[i], failures[i] = h.sharing.fresh(ctx, number, q.bound) })
	}
	group.Wait()
	var here []int32
	for i, number := range numbers {
		if failures[i] != nil {
			p.Missing = append(p.Missing, number)
			continue
		}
		here = append(here, number)
		p.Partitions = append(p.Partitions, partStanding{Partition: number, Age: ages[i].Seconds()})
	}
	if len(here) == 0 {
		return p, http.StatusOK
	}
	inner := r.WithContext(context.WithValue(r.Context(), readKey{}, here))
	if q.parameters.has("token") || len(r.Header[HeaderToken]) > 0 {
		if status := h.await(w, inner, q.parameters); status != 0 {
			return nil, status
		}
	}
	if err := h.collect(inner.Context(), p, q, here); err != nil {
		if !errors.Is(err, ErrNotReady) {
			return nil, h.fail(w, r, err)
		}
		// A copy has gone while it was read: nothing of what was read counts.
		return &part{Missing: numbers}, http.StatusOK
	}
	return p, http.StatusOK
}

// collect reads the rows of some partitions.
func (h *sharedHandler[K, V]) collect(ctx context.Context, p *part, q gathering[K], numbers []int32) error {
	if q.counts && bytes.Equal(store.PrefixEnd(q.bounds.from), q.bounds.to) {
		counted, kept, err := h.view.bridge.Counted(q.bounds.from, numbers...)
		if err != nil {
			return fmt.Errorf("counting rows of view %s: %w", h.view.name, err)
		}
		if kept && len(counted.Numbers) == len(numbers) {
			p.Count = counted.Rows
			h.stand(p, counted.Numbers, counted.Positions)
			return nil
		}
	}
	scan, err := h.view.bridge.ScanOf(ctx, numbers, q.bounds.from, q.bounds.to, q.bounds.descending)
	if err != nil {
		return fmt.Errorf("reading view %s: %w", h.view.name, err)
	}
	defer scan.Close()
	size := 0
	for scan.Next() {
		if q.counts {
			p.Count++
			continue
		}
		if len(p.rows) == q.query.Limit || size >= maxPageBytes {
			p.More = true
			break
		}
		key, value, err := h.view.decode(scan.Key(), scan.Value())
		if err != nil {
			return err
		}
		row, err := h.Render(nil, key, value)
		if err != nil {
			return fmt.Errorf("rendering a row of view %s: %w", h.view.name, err)
		}
		p.rows = append(p.rows, partRow{append([]byte(nil), scan.Key()...), row})
		size += len(row)
	}
	if err := scan.Finish(); err != nil {
		return fmt.Errorf("reading view %s: %w", h.view.name, err)
	}
	h.stand(p, numbers, scan.Positions())
	return nil
}

// stand notes in a part where the partitions stood.
func (h *sharedHandler[K, V]) stand(p *part, numbers []int32, positions []int64) {
	for i, number := range numbers {
		for at := range p.Partitions {
			if p.Partitions[at].Partition == number {
				p.Partitions[at].Position, p.Partitions[at].Lag = positions[i], h.view.bridge.Lag(number)
			}
		}
	}
}
