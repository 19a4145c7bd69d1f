package orderingtest

import (
	"cmp"
	"slices"

	"github.com/tidemill/tidemill/apps/ordering"
)

// Item is a line of the companion's query.
type Item struct {
	Label    string         `json:"label"`
	Price    ordering.Money `json:"price"`
	Quantity int64          `json:"quantity"`
}

// Items returns what the companion's query must answer about a customer's bucket, in the order of label and price.
func (m *Model) Items(customer, bucket string) []Item {
	var items []Item
	for _, order := range m.Listed(customer, bucket, false) {
		at := slices.IndexFunc(items, func(i Item) bool { return i.Label == order.ItemLabel && i.Price == order.ItemPrice })
		if at < 0 {
			items = append(items, Item{Label: order.ItemLabel, Price: order.ItemPrice, Quantity: 1})
			continue
		}
		items[at].Quantity++
	}
	slices.SortFunc(items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.Price, b.Price))
	})
	return items
}

// Listed returns a customer's orders in a bucket that are not cancelled, in the order of their time, or of their price, and
// then their id.
func (m *Model) Listed(customer, bucket string, byPrice bool) []ordering.Details {
	var listed []ordering.Details
	for _, order := range m.Open(customer) {
		if Bucket(order.ItemPrice) == bucket {
			listed = append(listed, order)
		}
	}
	slices.SortFunc(listed, func(a, b ordering.Details) int {
		first := cmp.Compare(a.PlacedAt, b.PlacedAt)
		if byPrice {
			first = cmp.Compare(a.ItemPrice, b.ItemPrice)
		}
		return cmp.Or(first, cmp.Compare(a.OrderID, b.OrderID))
	})
	return listed
}
