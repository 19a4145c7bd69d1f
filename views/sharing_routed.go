package views

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Routed has requests answered by an instance that holds what they read: partition tells which partition a request is about,
// as PartitionOf finds it, and h then runs on that partition's owner, whichever instance the request has come to. Server-sent
// events and other streams pass as they are written. h's requests have a context that ends when the instance lets the partition
// go, so that clients of streams reconnect and are sent to the new owner. Tokens that h awaits with that context are awaited for the
// partition alone.
//
// A request may say how old the state it is answered from may be, in the header Tidemill-Max-Staleness or the parameter
// max_staleness, which h does not see. "Prefer: redirect" has the client sent to the owner (307) instead of the
// request. GET, HEAD and OPTIONS are repeated elsewhere when an instance does not answer; others only if it cannot have
// acted on them. When nobody answers in time it is 503 with Retry-After. An error of partition is answered with 400, one that wraps
// ErrNotReady with 503.
//
// Without Sharing, h is called here, as it is; a request that says how old the state may be waits until the full copy is as
// young, as long as "Prefer: wait=N" says, up to DefaultMaxWait, else DefaultWait, and is 503 if that was not enough.
func (v *View[K, V]) Routed(partition func(*http.Request) (int32, error), h http.Handler) http.Handler {
	return Routed(partition, h, v)
}

// Routed is View.Routed for handlers that read several of the views.
func (s *Sharing) Routed(partition func(*http.Request) (int32, error), h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted := s.unanswered(w)
		defer counted.begin()
		w = counted
		inner, bound, err := takeStaleness(r)
		if err != nil {
			refuse(w, err)
			return
		}
		number, err := partition(inner)
		switch {
		case errors.Is(err, ErrNotReady):
			s.fail(w, number, err)
			return
		case err != nil:
			refuse(w, err)
			return
		}
		// The parameter is the other instance's to read, where it is forwarded.
		// h may have something to wait for, as long as the request does, which is no reason to ask another instance.
		wait := max(sharingWait(r), forwardLimit)
		s.serve(w, r, asking{partition: number, bound: bound, wait: wait, limit: wait + forwardLimit}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inner, _, _ := takeStaleness(r) // it has been read once
			h.ServeHTTP(w, inner)
		}))
	})
}

// sharingWait is how long a request waits for a partition: as it asks to, within reason.
func sharingWait(r *http.Request) time.Duration {
	if wait, asked := preferredWait(r.Header["Prefer"]); asked {
		return min(wait, DefaultMaxWait)
	}
	return DefaultWait
}

// PartitionOf returns the partition that a key's row is on. The error wraps ErrNotReady until the number of partitions is
// known.
func (v *View[K, V]) PartitionOf(key K) (int32, error) {
	encoded, err := v.keys.Append(nil, key)
	if err != nil {
		return -1, fmt.Errorf("encoding a key of view %s: %w", v.name, err)
	}
	number := v.bridge.PartitionOf(encoded)
	if number < 0 {
		return number, fmt.Errorf("the partitions of view %s: %w", v.name, ErrNotReady)
	}
	return number, nil
}
