// Package calculator is a distributed calculator: values are created, added to and multiplied by commands, and read from a
// view. It is the first reference system of Tidemill, written as a user of the framework would.
//
// calculator.go holds all of its business: messages, decider and topology. The rest puts it on the network: five
// components (commander, command processor, view, history, subscriptions) that run together in one process, or each in its own,
// joined by the log alone.
//
//	POST /values {"value":3}                                  creates a value
//	PUT  /values/{id} {"operation":"MULTIPLY","value":3}      updates it
//	GET  /values/{id}                                         {"value_id":"…","value":9.0}
//	GET  /values?prefix=…                                     values in the order of their ids
//	GET  /values/{id}/history                                 its events, the latest first
//	GET  /commands/{id}, /commands/{id}/outcomes, /outcomes?aggregate={id}
//	                                                          what became of commands
package calculator
