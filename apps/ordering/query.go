package ordering

import (
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
)

// Every key of the query side begins with the customer, which decides the partition, and goes on with the bucket: what a
// customer has in a bucket lies together, in the order of the rest, on one partition.
type (
	// orderKey is the key of an order in the order of its time or its price, as a number, and then its id.
	orderKey = codecs.Row[string, codecs.Tuple3[Bucket, int64, string]]
	// itemKey is the key of all orders with one label and price, in pence.
	itemKey = codecs.Row[string, codecs.Tuple3[Bucket, string, int64]]
	// bucketKey is the key of a customer's bucket. Its encoding is the prefix of the other keys of the bucket.
	bucketKey = codecs.Row[string, Bucket]
)

var (
	bucketCodec = codecs.OrderedStringOf[Bucket]()
	orderKeys   = codecs.Rows(codecs.OrderedString(), codecs.OrderedTuple3(bucketCodec, codecs.OrderedInt64(), codecs.OrderedString()))
	itemKeys    = codecs.Rows(codecs.OrderedString(), codecs.OrderedTuple3(bucketCodec, codecs.OrderedString(), codecs.OrderedInt64()))
	bucketKeys  = codecs.Rows(codecs.OrderedString(), bucketCodec)
)

// Listed is an order as the query side keeps it; customer, bucket and id are in the key.
type Listed struct {
	Label    string `json:"label"`
	Price    Money  `json:"price"`
	PlacedAt int64  `json:"placed-at"` // milliseconds since the epoch
}

// Totals are what the orders of a customer's bucket come to.
type Totals struct {
	Count int64 `json:"count"`
	Total Money `json:"total"`
}

// queryTables are the tables of the query side. All but the first are on the customers' partitions and change together.
type queryTables struct {
	byTime  topology.Table[orderKey, Listed]
	byPrice topology.Table[orderKey, Listed]
	items   topology.Table[itemKey, int64] // how many orders there are of a label and price
	totals  topology.Table[bucketKey, Totals]
}

// QueryTopology returns the query side as a topology: an application of its own, which reads the events alone.
func QueryTopology(thresholds Thresholds) (*topology.Topology, error) {
	built, _, err := queryTopology(thresholds)
	return built, err
}

func queryTopology(thresholds Thresholds) (*topology.Topology, queryTables, error) {
	var t queryTables
	if err := thresholds.validate(); err != nil {
		return nil, t, err
	}
	b := topology.New(thresholds.Application())
	open := b.From(Events).ToTable("orders").
		Filter(func(_ string, e Event) bool { return e.Action != OrderCancelled }).
		MapValues(func(e Event) Details { return e.Data })
	t.byTime = open.ToRows("by-time", func(id string, d Details) (orderKey, Listed) {
		row := orderKey{Partition: d.CustomerID}
		row.Sort.First, row.Sort.Second, row.Sort.Third = thresholds.Bucket(d.ItemPrice), d.PlacedAt, id
		return row, Listed{Label: d.ItemLabel, Price: d.ItemPrice, PlacedAt: d.PlacedAt}
	}, orderKeys, codecs.JSON[Listed]())
	t.byPrice = t.byTime.ToRowsWithin("by-price", func(r orderKey, o Listed) (orderKey, Listed) {
		r.Sort.Second = int64(o.Price)
		return r, o
	}, orderKeys, codecs.JSON[Listed]())
	t.items = t.byTime.GroupWithin(func(r orderKey, o Listed) (itemKey, int64) {
		row := itemKey{Partition: r.Partition}
		row.Sort.First, row.Sort.Second, row.Sort.Third = r.Sort.First, o.Label, int64(o.Price)
		return row, 1
	}, itemKeys, codecs.Int64()).Count("items")
	t.totals = t.byTime.GroupWithin(func(r orderKey, o Listed) (bucketKey, Listed) {
		return bucketKey{Partition: r.Partition, Sort: r.Sort.First}, o
	}, bucketKeys, codecs.JSON[Listed]()).Aggregate("totals",
		func() Totals { return Totals{} },
		func(_ bucketKey, o Listed, t Totals) Totals {
			return Totals{Count: t.Count + 1, Total: t.Total + o.Price}
		},
		func(_ bucketKey, o Listed, t Totals) Totals {
			return Totals{Count: t.Count - 1, Total: t.Total - o.Price}
		},
		codecs.JSON[Totals]())
	built, err := b.Build()
	return built, t, err
}
