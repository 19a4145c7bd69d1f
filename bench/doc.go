// Package bench measures the calculator on Tidemill: throughput, processor time and memory for a million commands, and the
// latency from a command written to its event readable, on a real Kafka and on the embedded broker.
//
// The measurements are tests that run only when asked for, because they take minutes: make bench.
package bench
