package codecs

// Row is the key of a row in a table that is kept by partition and sort key, as in Cassandra and DynamoDB: all rows of one
// Partition are on one partition of their topic, in the order of Sort.
type Row[P, S any] struct {
	Partition P `json:"partition"`
	Sort      S `json:"sort"`
}

// Partitioner is implemented by codecs of keys of which a part decides the partition. Everything that writes such a key to
// a topic, or looks for its record, goes by murmur2 of that part's plain encoding instead of the whole key's, so that the
// rows are where a record under the part alone is, whoever wrote it.
//
// Implementations are pure and safe for concurrent use.
type Partitioner interface {
	// PartitionPart returns how many bytes of encoded, a key or the beginning of one, are the part that decides. It returns
	// false if the part is not there as a whole: keys of several partitions may begin so, or none does.
	PartitionPart(encoded []byte) (length int, whole bool)
	// AppendPartitionKey appends to dst the plain encoding of a part that PartitionPart measured.
	AppendPartitionKey(dst, part []byte) []byte
}

// Prefixer measures beginnings of encoded keys: those that are one encoding of an [Ordered] part, or of a [RowCodec] whose
// parts the key's own begin with. Implementations are pure and safe for concurrent use.
type Prefixer interface {
	// PrefixLength returns how many bytes of encoded, a key or the beginning of one, are such an encoding; false if it does not
	// begin with one.
	PrefixLength(encoded []byte) (length int, whole bool)
	// Shape names the encoding. It changes when the bytes do.
	Shape() string
}

// PartitionerOf returns how a codec of keys chooses partitions; nil if by the whole key.
func PartitionerOf[K any](codec Codec[K]) Partitioner {
	switch codec := codec.(type) {
	case Partitioner:
		return codec
	case interface{ partitioner() Partitioner }:
		return codec.partitioner()
	}
	return nil
}

// AppendPartitionKey appends to dst the bytes of which murmur2 decides the partition of an encoded key: those of the part
// that the partitioner names, or all where it is nil or finds none.
func AppendPartitionKey(partitioner Partitioner, dst, encoded []byte) []byte {
	if partitioner != nil {
		if length, whole := partitioner.PartitionPart(encoded); whole {
			return partitioner.AppendPartitionKey(dst, encoded[:length])
		}
	}
	return append(dst, encoded...)
}

// RowCodec is the codec of [Row] keys: see [Rows].
type RowCodec[P, S any] struct {
	partition part[P]
	sort      part[S]
}

// Rows returns the codec of row keys: the partition's bytes, then the sort key's. It is a [Partitioner].
//
//	orders := codecs.Rows(codecs.OrderedString(), codecs.OrderedTuple2(codecs.Descending(codecs.OrderedTime()), codecs.OrderedString()))
//
// The bytes of Rows(p, a) are a prefix of exactly the keys of Rows(p, OrderedTuple2(a, b)) that have the same partition and
// the same a: a total kept under the one is the total of the other's rows with that prefix.
func Rows[P, S any](partition Ordered[P], sort Ordered[S]) RowCodec[P, S] {
	return RowCodec[P, S]{partition: partition.part, sort: sort.part}
}

// Check implements [Checker].
func (c RowCodec[P, S]) Check() error {
	if err := (Ordered[P]{c.partition}).Check(); err != nil {
		return err
	}
	return Ordered[S]{c.sort}.Check()
}

// Append implements [Codec].
func (c RowCodec[P, S]) Append(dst []byte, row Row[P, S]) ([]byte, error) {
	if c.partition == nil || c.sort == nil {
		return dst, c.Check()
	}
	encoded, err := c.partition.append(dst, row.Partition, 0)
	if err == nil {
		encoded, err = c.sort.append(encoded, row.Sort, 0)
	}
	if err != nil {
		return dst, err
	}
	return encoded, nil
}

// Decode implements [Codec].
func (c RowCodec[P, S]) Decode(data []byte) (row Row[P, S], err error) {
	if c.partition == nil || c.sort == nil {
		return row, c.Check()
	}
	length, err := c.partition.length(data, 0)
	if err != nil {
		return row, err
	}
	partition, err := c.partition.read(data[:length], 0)
	if err != nil {
		return row, err
	}
	sort, err := Ordered[S]{c.sort}.Decode(data[length:])
	if err != nil {
		return row, err
	}
	return Row[P, S]{partition, sort}, nil
}

// Partition returns the codec of the partition part alone. The encoding of a partition is the prefix of exactly its rows.
func (c RowCodec[P, S]) Partition() Ordered[P] { return Ordered[P]{c.partition} }

// PrefixLength implements [Prefixer].
func (c RowCodec[P, S]) PrefixLength(encoded []byte) (length int, whole bool) {
	partition, whole := Ordered[P]{c.partition}.PrefixLength(encoded)
	if !whole {
		return 0, false
	}
	sort, whole := Ordered[S]{c.sort}.PrefixLength(encoded[partition:])
	return partition + sort, whole
}

// Shape implements [Prefixer].
func (c RowCodec[P, S]) Shape() string {
	return Ordered[P]{c.partition}.Shape() + " | " + Ordered[S]{c.sort}.Shape()
}

// PartitionPart implements [Partitioner].
func (c RowCodec[P, S]) PartitionPart(encoded []byte) (length int, whole bool) {
	if c.partition == nil {
		return 0, false
	}
	length, err := c.partition.length(encoded, 0)
	return length, err == nil
}

// AppendPartitionKey implements [Partitioner].
func (c RowCodec[P, S]) AppendPartitionKey(dst, part []byte) []byte {
	return c.partition.plain(dst, part, 0)
}
