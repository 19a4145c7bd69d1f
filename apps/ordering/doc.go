// Package ordering is online ordering: customers place orders and cancel them, and see what they have ordered in three
// buckets, cheap, affordable and expensive. It is the second reference system of Tidemill.
//
// Two services, each with its own private state, are joined by the log alone; either may be down while the other works. The
// command service takes in commands, decides about them and tells what became of them:
//
//	POST   /orders {"customerId":"alice","itemLabel":"Tea","itemPrice":4.99}    places an order
//	DELETE /orders/{orderId}                                                    cancels it
//	GET    /commands/{id}, /commands/{id}/outcomes, /outcomes?aggregate={orderId}, /outcomes?tag={customerId}
//	                                                                            what became of commands
//
// The query service builds tables from the events, in an application of its own that is named by the thresholds of its
// buckets, and shows them:
//
//	GET /orders?customerId=alice&price=CHEAP            items, prices and quantities
//	GET /customers/{id}/orders                          three buckets: counts, totals and first pages
//	GET /customers/{id}/orders/{bucket}                 pages of one bucket, by time or price
//
// ordering.go holds the business of the command side: messages, decider and topology; price.go what a price is; buckets.go
// and query.go are the business of the query side.
package ordering
