package topologytest_test

import (
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/topology/topologytest"
)

// t stands for the *testing.T of a test.
var t topologytest.TB = printing{}

// printing is a test that ends the program when it fails.
type printing struct{}

func (printing) Helper()                           {}
func (printing) Cleanup(func())                    {}
func (printing) Errorf(format string, args ...any) { log.Fatalf(format, args...) }
func (printing) Fatalf(format string, args ...any) { log.Fatalf(format, args...) }

// A topology is tested without a broker: records go in, records and rows come out, and a crash changes nothing.
func Example() {
	lines := topology.NewTopic("lines", codecs.String(), codecs.String())
	counts := topology.NewTopic("counts", codecs.String(), codecs.Int64())

	b := topology.New("word-count")
	counted := b.From(lines).
		FlatMapValues(strings.Fields).
		GroupBy(func(_, word string) string { return word }, codecs.String()).
		Count("words")
	counted.ToStream().To(counts)
	wordCount, err := b.Build()
	if err != nil {
		log.Fatal(err)
	}

	driver := topologytest.New(t, wordCount, topologytest.Partitions(4))
	in, out := topologytest.Input(driver, lines), topologytest.Output(driver, counts)
	in.Pipe("poem", "time and tide")
	driver.Crash()
	in.Pipe("poem", "time flies", topologytest.At(1_800_000_000_000))
	for _, record := range out.ReadAll() {
		fmt.Println(record.Key, record.Value)
	}
	total, found := topologytest.Store(driver, counted).Get("time")
	fmt.Println(total, found)
	// Output:
	// time 1
	// and 1
	// tide 1
	// time 2
	// flies 1
	// 2 true
}

// Punctuators run in virtual time.
func ExampleDriver_Advance() {
	readings := topology.NewTopic("readings", codecs.String(), codecs.Int64())
	alarms := topology.NewTopic("alarms", codecs.String(), codecs.String())

	b := topology.New("watch")
	b.From(readings).Process("silence", func(c *topology.ProcessorContext[string, string]) topology.Processor[string, int64] {
		silent := true
		c.Schedule(topology.WallClockTime, time.Minute, func(int64) error {
			if silent {
				c.Forward("sensor", "nothing heard for a minute")
			}
			silent = true
			return nil
		})
		return func(topology.Record[string, int64]) error {
			silent = false
			return nil
		}
	}).To(alarms)
	watch, err := b.Build()
	if err != nil {
		log.Fatal(err)
	}

	driver := topologytest.New(t, watch)
	topologytest.Input(driver, readings).Pipe("sensor", 20)
	driver.Advance(time.Minute)
	fmt.Println(topologytest.Output(driver, alarms).ReadValues())
	driver.Advance(time.Minute)
	fmt.Println(topologytest.Output(driver, alarms).ReadValues())
	// Output:
	// []
	// [nothing heard for a minute]
}
