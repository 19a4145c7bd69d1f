package codecs_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/codecs/codectest"
	"github.com/tidemill/tidemill/internal/costtest"
)

type (
	placed   = codecs.Tuple3[string, time.Time, string] // bucket, time, order
	orderRow = codecs.Row[string, placed]
	groupRow = codecs.Row[string, string]
)

var (
	orderRows = codecs.Rows(codecs.OrderedString(), codecs.OrderedTuple3(codecs.OrderedString(), codecs.Descending(codecs.OrderedTime()), codecs.OrderedString()))
	groupRows = codecs.Rows(codecs.OrderedString(), codecs.OrderedString())
)

func at(customer, bucket string, milliseconds int64, order string) orderRow {
	return orderRow{Partition: customer, Sort: placed{First: bucket, Second: time.UnixMilli(milliseconds).UTC(), Third: order}}
}

func TestRowsConform(t *testing.T) {
	codectest.Suite[orderRow]{
		Codec:       orderRows,
		Values:      []orderRow{at("", "", 0, ""), at("alice", "cheap", 5, "1"), at("alice", "cheap", 5, "2"), at("a\x00", "", -1, "\x00"), at("a", "\x00", -1, "\x00")},
		Unencodable: []orderRow{at("\xff", "", 0, ""), at("", "\xff", 0, ""), at("", "", 0, "\xff")},
		Malformed:   [][]byte{nil, []byte("alice"), []byte("alice\x00\x01"), append(encode(t, orderRows, at("", "", 0, "")), 0)},
	}.Run(t)
}

func TestRowBytesStay(t *testing.T) {
	same(t, orderRows, at("alice", "cheap", 1_700_000_000_000, "o1"),
		[]byte("alice\x00\x01cheap\x00\x01\x7f\xff\xfe\x74\x30\x1a\x97\xffo1\x00\x01"))
}

// TestPrefixSelectsItsRows: a group's bytes are a prefix of the rows of that group, and of no others.
func TestPrefixSelectsItsRows(t *testing.T) {
	texts := []string{"", "\x00", "\x00\x01", "a", "a\x00", "aa", "b", "\x00\xff"[:1] + "ÿ"}
	for _, customer := range texts {
		for _, bucket := range texts {
			row := encode(t, orderRows, at(customer, bucket, 7, "x"))
			for _, otherCustomer := range texts {
				partition := encode(t, orderRows.Partition(), otherCustomer)
				if got, want := bytes.HasPrefix(row, partition), customer == otherCustomer; got != want {
					t.Errorf("the row of %q begins with partition %q: %v", customer, otherCustomer, got)
				}
				for _, otherBucket := range texts {
					prefix := encode(t, groupRows, groupRow{Partition: otherCustomer, Sort: otherBucket})
					if got, want := bytes.HasPrefix(row, prefix), customer == otherCustomer && bucket == otherBucket; got != want {
						t.Errorf("the row of (%q, %q) begins with group (%q, %q): %v", customer, bucket, otherCustomer, otherBucket, got)
					}
				}
			}
		}
	}
}

// TestPartitionKeys: the partition part's plain encoding decides, as a producer writes it that knows nothing of rows.
func TestPartitionKeys(t *testing.T) {
	sort := codecs.OrderedString()
	partitionKey(t, codecs.Rows(codecs.OrderedString(), sort), "al\x00ice", codecs.String())
	partitionKey(t, codecs.Rows(codecs.OrderedString(), sort), "", codecs.String())
	partitionKey(t, codecs.Rows(codecs.Descending(codecs.OrderedString()), sort), "al\x00ice", codecs.String())
	partitionKey(t, codecs.Rows(codecs.OrderedStringOf[identifier](), sort), "order-1", codecs.StringOf[identifier]())
	partitionKey(t, codecs.Rows(codecs.OrderedBytes(), sort), []byte{0, 1, 0xff}, codecs.Bytes())
	partitionKey(t, codecs.Rows(codecs.OrderedInt64(), sort), -5, codecs.Int64())
	partitionKey(t, codecs.Rows(codecs.Descending(codecs.OrderedInt64()), sort), -5, codecs.Int64())
	partitionKey(t, codecs.Rows(codecs.OrderedDecimal(), sort), decimal(t, "-12.5"), codecs.DecimalText())
	partitionKey(t, codecs.Rows(codecs.OrderedUUID[[16]byte](), sort), [16]byte{1, 2, 3}, codecs.UUID[[16]byte]())
	partitionKey(t, codecs.Rows(codecs.Descending(codecs.OrderedUUID[[16]byte]()), sort), [16]byte{1, 2, 3}, codecs.UUID[[16]byte]())
	partitionKey(t, codecs.Rows(codecs.ConvertOrdered(codecs.OrderedInt64(), levelNumber, levelOf), sort), "high", codecs.Convert(codecs.Int64(), levelNumber, levelOf))
	milliseconds := codecs.Convert(codecs.Int64(), func(t time.Time) (int64, error) { return t.UnixMilli(), nil }, func(m int64) (time.Time, error) { return time.UnixMilli(m), nil })
	partitionKey(t, codecs.Rows(codecs.OrderedTime(), sort), time.UnixMilli(5), milliseconds)
	pair := codecs.OrderedTuple2(codecs.OrderedString(), codecs.OrderedInt64())
	partitionKey(t, codecs.Rows(pair, sort), codecs.Tuple2[string, int64]{First: "a", Second: 1}, codecs.Codec[codecs.Tuple2[string, int64]](pair))
	partitionKey(t, codecs.Rows(codecs.Descending(pair), sort), codecs.Tuple2[string, int64]{First: "a", Second: 1}, codecs.Codec[codecs.Tuple2[string, int64]](pair))
}

func partitionKey[P any](t *testing.T, rows codecs.RowCodec[P, string], partition P, plain codecs.Codec[P]) {
	t.Helper()
	key := encode(t, rows, codecs.Row[P, string]{Partition: partition, Sort: "s\x00\x01"})
	want := encode(t, plain, partition)
	if got := codecs.AppendPartitionKey(rows, nil, key); !bytes.Equal(got, want) {
		t.Errorf("%+v: % x decides the partition, want % x", partition, got, want)
	}
	part := encode(t, rows.Partition(), partition)
	if length, whole := rows.PartitionPart(part); !whole || length != len(part) {
		t.Errorf("%+v: of the part alone, % x, %d bytes are found, %v", partition, part, length, whole)
	}
	if _, whole := rows.PartitionPart(part[:len(part)-1]); whole {
		t.Errorf("%+v: % x is taken for a whole part", partition, part[:len(part)-1])
	}
}

func TestPartitionerOf(t *testing.T) {
	if p := codecs.PartitionerOf(codecs.String()); p != nil {
		t.Errorf("strings are partitioned by %v", p)
	}
	custom := codecs.Convert(codecs.Codec[groupRow](groupRows),
		func(key [2]string) (groupRow, error) { return groupRow{Partition: key[0], Sort: key[1]}, nil },
		func(row groupRow) ([2]string, error) { return [2]string{row.Partition, row.Sort}, nil })
	key := encode(t, custom, [2]string{"alice", "cheap"})
	if got := codecs.AppendPartitionKey(codecs.PartitionerOf(custom), nil, key); string(got) != "alice" {
		t.Errorf("a converted row is partitioned by %q", got)
	}
	if got := codecs.AppendPartitionKey(groupRows, []byte("before:"), []byte("no row")); string(got) != "before:no row" {
		t.Errorf("what is no row is partitioned by %q", got)
	}
}

func FuzzRows(f *testing.F) {
	f.Add([]byte("alice\x00\x01cheap\x00\x01\x7f\xff\xfe\x74\x30\x1a\x97\xffo1\x00\x01"), "alice", "cheap")
	f.Add([]byte{}, "a\x00", "")
	f.Fuzz(func(t *testing.T, data []byte, customer, bucket string) {
		codectest.Stable(t, orderRows, data)
		if length, whole := orderRows.PartitionPart(data); whole {
			orderRows.AppendPartitionKey(nil, data[:length])
		}
		row := at(customer, bucket, 5, "o")
		key, err := orderRows.Append(nil, row)
		if err != nil {
			return
		}
		if back, err := orderRows.Decode(key); err != nil || back != row {
			t.Errorf("%+v comes back as %+v, %v", row, back, err)
		}
	})
}

// TestRowAllocations is the budget of the hot path: nothing but the strings that are read.
func TestRowAllocations(t *testing.T) {
	row, buffer := at("alice", "cheap", 5, "order-1"), make([]byte, 0, 128)
	key := encode(t, orderRows, row)
	partitioner := codecs.PartitionerOf(codecs.Codec[orderRow](orderRows))
	prices := codecs.OrderedDecimal()
	price := decimal(t, "12.50")
	for name, budget := range map[string]struct {
		most float64
		run  func()
	}{
		"append":           {0, func() { buffer, _ = orderRows.Append(buffer[:0], row) }},
		"decode":           {3, func() { _, _ = orderRows.Decode(key) }},
		"partition key":    {0, func() { buffer = codecs.AppendPartitionKey(partitioner, buffer[:0], key) }},
		"append a decimal": {0, func() { buffer, _ = prices.Append(buffer[:0], price) }},
	} {
		if got := testing.AllocsPerRun(200, budget.run); got > budget.most && !costtest.Races {
			t.Errorf("%s: %v allocations, want at most %v", name, got, budget.most)
		}
	}
}

func BenchmarkRows(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	row, buffer := at("alice", "cheap", random.Int64N(1<<40), "order-1"), make([]byte, 0, 128)
	key := encode(b, orderRows, row)
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			buffer, _ = orderRows.Append(buffer[:0], row)
		}
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			_, _ = orderRows.Decode(key)
		}
	})
}

// Rows of one customer, the newest first, in the order of their keys' bytes.
func ExampleRows() {
	rows := codecs.Rows(codecs.OrderedString(), codecs.OrderedTuple2(codecs.Descending(codecs.OrderedTime()), codecs.OrderedString()))
	type row = codecs.Row[string, codecs.Tuple2[time.Time, string]]
	older, _ := rows.Append(nil, row{Partition: "alice", Sort: codecs.Tuple2[time.Time, string]{First: time.UnixMilli(1000), Second: "order-1"}})
	newer, _ := rows.Append(nil, row{Partition: "alice", Sort: codecs.Tuple2[time.Time, string]{First: time.UnixMilli(2000), Second: "order-2"}})
	prefix, _ := rows.Partition().Append(nil, "alice")
	fmt.Println(bytes.Compare(newer, older), bytes.HasPrefix(older, prefix))
	fmt.Printf("partition by %q\n", codecs.AppendPartitionKey(rows, nil, older))
	// Output:
	// -1 true
	// partition by "alice"
}

func TestKeyTexts(t *testing.T) {
	type sort = codecs.Tuple4[time.Time, int64, codecs.Decimal, [16]byte]
	rows := codecs.Rows(codecs.OrderedString(), codecs.OrderedTuple4(
		codecs.Descending(codecs.OrderedTime()), codecs.OrderedInt64(), codecs.OrderedDecimal(), codecs.OrderedUUID[[16]byte]()))
	row := codecs.Row[string, sort]{Partition: "a/~1", Sort: sort{First: time.UnixMilli(1_700_000_000_000), Second: -5, Third: decimal(t, "1.5"), Fourth: [16]byte{15: 1}}}
	key := encode(t, rows, row)
	const text = "a~1~01/1700000000000/-5/1.50/00000000-0000-0000-0000-000000000001"
	for _, text := range []string{text, strings.Replace(text, "1700000000000", "2023-11-14T23:13:20+01:00", 1)} {
		if encoded, whole, err := rows.AppendKeyText([]byte("before"), text); err != nil || !whole || string(encoded) != "before"+string(key) {
			t.Errorf("%s is % x, %v, %v, want % x", text, encoded, whole, err, key)
		}
	}
	parts := strings.Split(text, "/")
	for n := range parts {
		encoded, whole, err := rows.AppendKeyText(nil, strings.Join(parts[:n], "/"))
		if err != nil || whole || !bytes.HasPrefix(key, encoded) {
			t.Errorf("%d parts are % x, %v, %v, want the beginning of % x", n, encoded, whole, err, key)
		}
	}
	for _, wrong := range []string{text + "/", "a/soon", "a/1/1.5", "a/1/1/x", "a/1/1/1/1", "\xff", "a/2023-11-14T23:13:20.0001Z"} {
		if encoded, _, err := rows.AppendKeyText([]byte("before"), wrong); err == nil || string(encoded) != "before" {
			t.Errorf("%q is % x, %v", wrong, encoded, err)
		}
	}
	level := codecs.Rows(codecs.OrderedBytes(), codecs.ConvertOrdered(codecs.OrderedInt64(), levelNumber, levelOf))
	if encoded, whole, err := level.AppendKeyText(nil, "/2"); err != nil || !whole || !bytes.Equal(encoded, encode(t, level, codecs.Row[[]byte, string]{Sort: "high"})) {
		t.Errorf("a converted part is % x, %v, %v", encoded, whole, err)
	}
}

func TestPrefixers(t *testing.T) {
	key := encode(t, orderRows, at("alice", "cheap", 5, "o1"))
	for shape, prefixer := range map[string]codecs.Prefixer{
		"text": orderRows.Partition(), "text | text": groupRows, "text | text, descending(int64), text": orderRows,
	} {
		if got := prefixer.Shape(); got != shape {
			t.Errorf("the shape is %q, want %q", got, shape)
		}
		length, whole := prefixer.PrefixLength(key)
		if !whole {
			t.Errorf("%s: the key does not begin with one", shape)
		}
		if _, whole := prefixer.PrefixLength(key[:length-1]); whole {
			t.Errorf("%s: % x is taken for whole", shape, key[:length-1])
		}
	}
	if _, whole := (codecs.RowCodec[string, string]{}).PrefixLength(key); whole {
		t.Error("the zero RowCodec measures something")
	}
}
