package topology_test

import (
	"fmt"
	"log"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/topology/topologytest"
)

type (
	order struct {
		Customer, Bucket string
		Pence            int64
	}
	priceAndID = codecs.Tuple2[int64, string]
)

// Each customer's orders, the dearest first; and how many each customer has in each bucket.
func ExampleTable_ToRows() {
	b := topology.New("shop")
	topic := topology.NewTopic("orders", codecs.String(), codecs.JSON[order]())
	orders := b.Table(topic, "orders")

	byPrice := codecs.Rows(codecs.OrderedString(), codecs.OrderedTuple2(codecs.Descending(codecs.OrderedInt64()), codecs.OrderedString()))
	orders.ToRows("orders-by-price", func(id string, o order) (codecs.Row[string, priceAndID], order) {
		return codecs.Row[string, priceAndID]{Partition: o.Customer, Sort: priceAndID{First: o.Pence, Second: id}}, o
	}, byPrice, codecs.JSON[order]())

	byBucket := orders.ToRows("orders-by-bucket", func(id string, o order) (codecs.Row[string, bucketAndID], order) {
		return codecs.Row[string, bucketAndID]{Partition: o.Customer, Sort: bucketAndID{First: o.Bucket, Second: id}}, o
	}, codecs.Rows(codecs.OrderedString(), codecs.OrderedTuple2(codecs.OrderedString(), codecs.OrderedString())), codecs.JSON[order]())
	perBucket := byBucket.GroupWithin(func(r codecs.Row[string, bucketAndID], o order) (codecs.Row[string, string], int64) {
		return codecs.Row[string, string]{Partition: r.Partition, Sort: r.Sort.First}, o.Pence
	}, codecs.Rows(codecs.OrderedString(), codecs.OrderedString()), codecs.Int64()).Count("orders-per-bucket")

	shop, err := b.Build()
	if err != nil {
		log.Fatal(err)
	}
	driver := topologytest.New(example{}, shop)
	in := topologytest.Input(driver, topic)
	in.Pipe("1", order{"alice", "cheap", 499})
	in.Pipe("2", order{"alice", "affordable", 500})
	in.Pipe("3", order{"alice", "cheap", 5})
	in.Pipe("1", order{"alice", "affordable", 600})
	for _, row := range topologytest.Store(driver, perBucket).All() {
		fmt.Println(row.Key.Partition, row.Key.Sort, row.Value)
	}
	// Output:
	// alice affordable 2
	// alice cheap 1
}
