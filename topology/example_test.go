package topology_test

import (
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/topology/topologytest"
)

// transfer is a command of the examples, booked its event.
type (
	transfer struct {
		ID     string `json:"id"`
		Amount int64  `json:"amount"`
	}
	booked struct {
		ID     string `json:"id"`
		Amount int64  `json:"amount"`
	}
)

// example stands for the *testing.T of a test: it ends the program when the example fails.
type example struct{}

func (example) Helper()                           {}
func (example) Cleanup(func())                    {}
func (example) Errorf(format string, args ...any) { log.Fatalf(format, args...) }
func (example) Fatalf(format string, args ...any) { log.Fatalf(format, args...) }

// A decider takes commands in; events, the state and rejections come out of one operator.
func Example() {
	transfers := topology.NewTopic("bank-transfers", codecs.String(), codecs.JSON[transfer]())
	bookings := topology.NewTopic("bank-bookings", codecs.String(), codecs.JSON[booked]())
	rejections := topology.NewTopic("bank-rejections", codecs.String(), codecs.JSON[topology.Rejection]())

	account := topology.Decider[string, transfer, booked, int64]{
		ID: func(t transfer) string { return t.ID },
		Decide: func(balance int64, found bool, t transfer) topology.Decision[booked] {
			if balance+t.Amount < 0 {
				return topology.Reject[booked](topology.Conflict, "the account would be overdrawn")
			}
			return topology.Accept(booked{ID: topology.DeriveID(t.ID, 0), Amount: t.Amount})
		},
		Evolve: func(balance int64, found bool, b booked) int64 { return balance + b.Amount },
	}

	b := topology.New("bank")
	accounts := b.From(transfers).Decide("balances", account)
	accounts.Events.To(bookings)
	accounts.Rejections.To(rejections)
	bank, err := b.Build()
	if err != nil {
		log.Fatal(err)
	}

	driver := topologytest.New(example{}, bank)
	in := topologytest.Input(driver, transfers)
	in.Pipe("alice", transfer{ID: "1", Amount: 50})
	in.Pipe("alice", transfer{ID: "1", Amount: 50}) // a retry
	in.Pipe("alice", transfer{ID: "2", Amount: -80})
	fmt.Println(len(topologytest.Output(driver, bookings).ReadAll()), "booked")
	fmt.Println(topologytest.Output(driver, rejections).Read().Value.Data.Reason)
	fmt.Println(topologytest.Store(driver, accounts.State).Get("alice"))
	// Output:
	// 1 booked
	// the account would be overdrawn
	// 50 true
}

// wordCount is the example that every stream processor has.
func wordCount(b *topology.Builder, lines topology.Topic[string, string], counts topology.Topic[string, int64]) topology.Table[string, int64] {
	counted := b.From(lines).
		FlatMapValues(strings.Fields).
		GroupBy(func(_, word string) string { return word }, codecs.String()).
		Count("words")
	counted.ToStream().To(counts)
	return counted
}

func ExampleTopology_Describe() {
	b := topology.New("word-count")
	wordCount(b, topology.NewTopic("lines", codecs.String(), codecs.String()), topology.NewTopic("counts", codecs.String(), codecs.Int64()))
	built, err := b.Build()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(built.Describe())
	// Output:
	// application word-count
	//
	// sub-topology lines, consumer group word-count-lines
	//   from topic lines (string, string)
	//     flatMapValues
	//       groupBy
	//         repartition topic word-count-words-repartition (string, string), internal
	//
	// sub-topology words-repartition, consumer group word-count-words-repartition
	//   from topic word-count-words-repartition (string, string), internal
	//     count words, store words
	//       toStream
	//         to topic counts (string, int64)
	//   store words (string, int64), changelog word-count-words-changelog
}

// Build reports everything that is wrong at once.
func ExampleBuilder_Build() {
	b := topology.New("shop")
	orders := b.From(topology.NewTopic("orders", codecs.String(), codecs.String()))
	orders.GroupByKey().Count("")
	orders.MapValues(func(v string) int { return len(v) }).ToTable("lengths")
	orders.Filter(nil)
	_, err := b.Build()
	fmt.Println(errors.Is(err, topology.ErrInvalid))
	fmt.Println(err)
	// Output:
	// true
	// invalid topology: count: its store: a name is missing: state is found again by its name, so give it one that stays
	// invalid topology: toTable lengths: the value (int) has no codec; name one with WithValue before this operator
	// invalid topology: filter: its predicate is nil
	// invalid topology: filter: nothing is done with its result; remove it or go on, to To, ToTable, ForEach, …
}

// A table that is grouped anew takes the old value of a row out of its group and puts the new one in.
func ExampleTable_GroupBy() {
	type order struct {
		City  string `json:"city"`
		Pence int64  `json:"pence"`
	}
	orders := topology.NewTopic("orders", codecs.String(), codecs.JSON[order]())

	b := topology.New("shop")
	revenue := b.Table(orders, "orders").
		GroupBy(func(_ string, o order) (string, int64) { return o.City, o.Pence }, codecs.String(), codecs.Int64()).
		Reduce("revenue",
			func(sum, pence int64) int64 { return sum + pence },
			func(sum, pence int64) int64 { return sum - pence })
	shop, err := b.Build()
	if err != nil {
		log.Fatal(err)
	}

	driver := topologytest.New(example{}, shop)
	in := topologytest.Input(driver, orders)
	in.Pipe("1", order{City: "Leeds", Pence: 500})
	in.Pipe("2", order{City: "Leeds", Pence: 700})
	in.Pipe("1", order{City: "York", Pence: 450}) // the order has moved
	in.PipeTombstone("2")                         // and this one is gone
	fmt.Println(topologytest.Store(driver, revenue).All())
	// Output: [{Leeds 0} {York 450}]
}

// A processor has stores of its own, and punctuators in both kinds of time.
func ExampleStream_Process() {
	readings := topology.NewTopic("readings", codecs.String(), codecs.Int64())
	averages := topology.NewTopic("averages", codecs.String(), codecs.Int64())

	b := topology.New("sensors")
	sums := topology.KeyValueStore("sums", codecs.String(), codecs.JSON[[2]int64]())
	b.From(readings).Process("average", func(c *topology.ProcessorContext[string, int64]) topology.Processor[string, int64] {
		rows := sums.Open(c)
		c.Schedule(topology.StreamTime, time.Minute, func(now int64) error {
			for sensor, sum := range rows.All() {
				c.Forward(sensor, sum[0]/sum[1])
				rows.Delete(sensor)
			}
			return nil
		})
		return func(r topology.Record[string, int64]) error {
			sum, _ := rows.Get(r.Key)
			rows.Put(r.Key, [2]int64{sum[0] + r.Value, sum[1] + 1})
			return nil
		}
	}, sums).To(averages)
	sensors, err := b.Build()
	if err != nil {
		log.Fatal(err)
	}

	driver := topologytest.New(example{}, sensors)
	in := topologytest.Input(driver, readings)
	in.Pipe("kitchen", 19, topologytest.At(60_000)) // the first record runs the punctuator, too
	in.Pipe("kitchen", 20, topologytest.At(70_000))
	in.Pipe("cellar", 11, topologytest.At(80_000))
	in.Pipe("kitchen", 24, topologytest.At(121_000))
	for _, record := range topologytest.Output(driver, averages).ReadAll() {
		fmt.Println(record.Key, record.Value, record.Timestamp)
	}
	// Output:
	// kitchen 19 60000
	// cellar 11 121000
	// kitchen 22 121000
}
