package codecs

// Tuple2 is a key of two parts, ordered by the first, then by the second.
type Tuple2[A, B any] struct {
	First  A `json:"first"`
	Second B `json:"second"`
}

// Tuple3 is a key of three parts, ordered by the first, then by the second, then by the third.
type Tuple3[A, B, C any] struct {
	First  A `json:"first"`
	Second B `json:"second"`
	Third  C `json:"third"`
}

// Tuple4 is a key of four parts, ordered by the first, then by the second, the third and the fourth.
type Tuple4[A, B, C, D any] struct {
	First  A `json:"first"`
	Second B `json:"second"`
	Third  C `json:"third"`
	Fourth D `json:"fourth"`
}

// OrderedTuple2 returns the codec of pairs: one part's bytes after the other's. The encoding of first alone is the prefix
// of exactly the tuples that begin with it. A tuple has no plain encoding but this one.
func OrderedTuple2[A, B any](first Ordered[A], second Ordered[B]) Ordered[Tuple2[A, B]] {
	return Ordered[Tuple2[A, B]]{part: pairPart[A, B, Tuple2[A, B]]{
		first: first.part, second: second.part,
		split: func(t Tuple2[A, B]) (A, B) { return t.First, t.Second },
		join:  func(a A, b B) Tuple2[A, B] { return Tuple2[A, B]{a, b} },
	}}
}

// OrderedTuple3 is [OrderedTuple2] for three parts.
func OrderedTuple3[A, B, C any](first Ordered[A], second Ordered[B], third Ordered[C]) Ordered[Tuple3[A, B, C]] {
	type rest = Tuple2[B, C]
	return Ordered[Tuple3[A, B, C]]{part: pairPart[A, rest, Tuple3[A, B, C]]{
		first: first.part, second: OrderedTuple2(second, third).part,
		split: func(t Tuple3[A, B, C]) (A, rest) { return t.First, rest{t.Second, t.Third} },
		join:  func(a A, r rest) Tuple3[A, B, C] { return Tuple3[A, B, C]{a, r.First, r.Second} },
	}}
}

// OrderedTuple4 is [OrderedTuple2] for four parts.
func OrderedTuple4[A, B, C, D any](first Ordered[A], second Ordered[B], third Ordered[C], fourth Ordered[D]) Ordered[Tuple4[A, B, C, D]] {
	type rest = Tuple3[B, C, D]
	return Ordered[Tuple4[A, B, C, D]]{part: pairPart[A, rest, Tuple4[A, B, C, D]]{
		first: first.part, second: OrderedTuple3(second, third, fourth).part,
		split: func(t Tuple4[A, B, C, D]) (A, rest) { return t.First, rest{t.Second, t.Third, t.Fourth} },
		join:  func(a A, r rest) Tuple4[A, B, C, D] { return Tuple4[A, B, C, D]{a, r.First, r.Second, r.Third} },
	}}
}

// pairPart encodes T as an A and then a B.
type pairPart[A, B, T any] struct {
	first  part[A]
	second part[B]
	split  func(T) (A, B)
	join   func(A, B) T
}

func (p pairPart[A, B, T]) check() error {
	if err := (Ordered[A]{p.first}).Check(); err != nil {
		return err
	}
	return Ordered[B]{p.second}.Check()
}

func (p pairPart[A, B, T]) append(dst []byte, value T, mask byte) ([]byte, error) {
	if p.first == nil || p.second == nil {
		return dst, p.check()
	}
	a, b := p.split(value)
	dst, err := p.first.append(dst, a, mask)
	if err != nil {
		return dst, err
	}
	return p.second.append(dst, b, mask)
}

func (p pairPart[A, B, T]) length(data []byte, mask byte) (int, error) {
	if p.first == nil || p.second == nil {
		return 0, p.check()
	}
	first, err := p.first.length(data, mask)
	if err != nil {
		return 0, err
	}
	second, err := p.second.length(data[first:], mask)
	return first + second, err
}

func (p pairPart[A, B, T]) read(data []byte, mask byte) (T, error) {
	var zero T
	first, err := p.first.length(data, mask)
	if err != nil {
		return zero, err
	}
	a, err := p.first.read(data[:first], mask)
	if err != nil {
		return zero, err
	}
	b, err := p.second.read(data[first:], mask)
	if err != nil {
		return zero, err
	}
	return p.join(a, b), nil
}

func (p pairPart[A, B, T]) plain(dst, data []byte, mask byte) []byte {
	if mask == 0 {
		return append(dst, data...)
	}
	for _, b := range data {
		dst = append(dst, b^mask)
	}
	return dst
}

func (p pairPart[A, B, T]) shape() string {
	return Ordered[A]{p.first}.Shape() + ", " + Ordered[B]{p.second}.Shape()
}
