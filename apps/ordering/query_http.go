package ordering

import (
	"context"
	"encoding/json/v2"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/views"
)

// The bounds of a page.
const (
	defaultLimit = 20
	maxLimit     = 1000
)

// item is an entry of the companion's query.
type item struct {
	Label    string `json:"label"`
	Price    Money  `json:"price"`
	Quantity int64  `json:"quantity"`
}

// listing is an order in an answer.
type listing struct {
	OrderID   string `json:"orderId"`
	ItemLabel string `json:"itemLabel"`
	ItemPrice Money  `json:"itemPrice"`
	PlacedAt  int64  `json:"placedAt"`
}

// page is a part of a bucket in an answer.
type page struct {
	Bucket Bucket    `json:"bucket"`
	Count  int64     `json:"count"`
	Total  Money     `json:"total"`
	Orders []listing `json:"orders"`
	Next   string    `json:"next,omitempty"`
}

// customerPage is the answer about one bucket.
type customerPage struct {
	CustomerID string `json:"customerId"`
	page
}

// customerBuckets is the answer about all buckets.
type customerBuckets struct {
	CustomerID string `json:"customerId"`
	Thresholds struct {
		Affordable Money `json:"affordable"`
		Expensive  Money `json:"expensive"`
	} `json:"thresholds"`
	Buckets []page `json:"buckets"`
}

// asked is a query that can be answered.
type asked struct {
	customer string
	query    url.Values
	byPrice  bool
	asc      bool
	limit    int
	cursor   string
}

// authorized lets a principal ask about itself alone, has the instance answer that holds the customer's orders, and waits
// there until the views that it reads are as fresh as the request wants them and show what its token says. customer says who is asked about.
func (q *queried) authorized(serve func(http.ResponseWriter, *http.Request, asked), customer func(*http.Request) string, reads ...shown) http.Handler {
	of := func(r *http.Request) (int32, error) { return q.totals.PartitionOf(bucketKey{Partition: customer(r)}) }
	held := views.Routed(of, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		waits := func(ctx context.Context, token views.Token) error { return await(ctx, token, reads) }
		if views.AwaitToken(w, r, waits) {
			// It has been parsed before.
			query, _ := url.ParseQuery(r.URL.RawQuery)
			serve(w, r, asked{customer: customer(r), query: query})
		}
	}), shownOf(reads)...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		principal, ok := auth.Check(w, r, q.config.Authorizer, ScopeRead)
		if !ok {
			return
		}
		who := customer(r)
		_, err := url.ParseQuery(r.URL.RawQuery)
		switch {
		case err != nil:
			views.Malformed(w, "the query cannot be read: "+err.Error())
		case !isCustomerID(who):
			views.Malformed(w, "say which customer: an id is 1 to 128 characters, without control characters and without space at its ends, and not . or ..")
		case principal.ID != "" && principal.ID != who:
			views.Problem(w, http.StatusForbidden, "orders can be looked at by the customer alone")
		default:
			held.ServeHTTP(w, views.Until(r, principal.Expires))
		}
	})
}

// only refuses parameters that do not belong to a query, or come twice.
func (a asked) only(names ...string) error {
	for name, given := range a.query {
		switch {
		case !slices.Contains(names, name):
			return fmt.Errorf("the parameter %q does not belong here; possible are %s", name, strings.Join(names, ", "))
		case len(given) > 1:
			return fmt.Errorf("the parameter %q is given more than once", name)
		}
	}
	return nil
}

// paging reads sort, order, limit and cursor.
func (a *asked) paging() error {
	if err := a.only("sort", "order", "limit", "cursor", "token"); err != nil {
		return err
	}
	switch sort := a.query.Get("sort"); sort {
	case "", "time":
	case "price":
		a.byPrice = true
	default:
		return fmt.Errorf("sort is %.40q; possible are time and price", sort)
	}
	switch order := a.query.Get("order"); order {
	case "", "desc":
	case "asc":
		a.asc = true
	default:
		return fmt.Errorf("order is %.40q; possible are asc and desc", order)
	}
	a.limit, a.cursor = defaultLimit, a.query.Get("cursor")
	if text := a.query.Get("limit"); text != "" {
		limit, err := strconv.Atoi(text)
		if err != nil || limit < 1 || limit > maxLimit {
			return fmt.Errorf("limit is %.40q; want 1 to %d", text, maxLimit)
		}
		a.limit = limit
	}
	return nil
}

// serveItems answers GET /orders: the companion's query.
func (q *queried) serveItems(w http.ResponseWriter, r *http.Request, a asked) {
	bucket, err := parseBucket(a.query.Get("price"))
	if wrong := a.only("customerId", "price", "token"); wrong != nil {
		err = wrong
	}
	if err != nil {
		views.Malformed(w, err.Error())
		return
	}
	prefix, err := bucketKeys.Append(nil, bucketKey{Partition: a.customer, Sort: bucket})
	if err != nil {
		views.Refuse(w, r, err)
		return
	}
	found := []item{}
	rows := q.items.Prefix(r.Context(), prefix)
	for key, quantity := range rows.All() {
		if quantity == 0 {
			continue // all of them cancelled
		}
		found = append(found, item{Label: key.Sort.Second, Price: Money(key.Sort.Third), Quantity: quantity})
		if len(found) == maxLimit {
			break
		}
	}
	switch {
	case rows.Err() != nil:
		q.fail(w, r, rows.Err())
	case len(found) == 0:
		views.Problem(w, http.StatusNotFound, fmt.Sprintf("customer %s has no %s orders", a.customer, strings.ToLower(string(bucket))))
	default:
		q.answer(w, r, found)
	}
}

// serveBuckets answers GET /customers/{id}/orders: the first page of each bucket.
func (q *queried) serveBuckets(w http.ResponseWriter, r *http.Request, a asked) {
	err := a.paging()
	if err == nil && a.query.Has("cursor") {
		err = fmt.Errorf("a cursor belongs to one bucket: ask for /customers/%s/orders/{bucket}", url.PathEscape(a.customer))
	}
	if err != nil {
		views.Malformed(w, err.Error())
		return
	}
	all := customerBuckets{CustomerID: a.customer}
	all.Thresholds.Affordable, all.Thresholds.Expensive = q.thresholds.From, q.thresholds.To
	for _, bucket := range buckets {
		one, err := q.page(r, a, bucket)
		if err != nil {
			q.fail(w, r, err)
			return
		}
		all.Buckets = append(all.Buckets, one)
	}
	q.answer(w, r, all)
}

// serveBucket answers GET /customers/{id}/orders/{bucket}: a page of one bucket.
func (q *queried) serveBucket(w http.ResponseWriter, r *http.Request, a asked) {
	bucket, err := parseBucket(r.PathValue("bucket"))
	if err != nil {
		views.Problem(w, http.StatusNotFound, err.Error())
		return
	}
	if err := a.paging(); err != nil {
		views.Malformed(w, err.Error())
		return
	}
	one, err := q.page(r, a, bucket)
	if err != nil {
		q.fail(w, r, err)
		return
	}
	q.answer(w, r, customerPage{CustomerID: a.customer, page: one})
}

// page reads a page of a bucket.
func (q *queried) page(r *http.Request, a asked, bucket Bucket) (page, error) {
	one := page{Bucket: bucket, Orders: []listing{}}
	key := bucketKey{Partition: a.customer, Sort: bucket}
	prefix, err := bucketKeys.Append(nil, key)
	if err != nil {
		return one, err
	}
	totals, _, err := q.totals.Get(r.Context(), key)
	if err != nil {
		return one, err
	}
	one.Count, one.Total = totals.Count, totals.Total
	view := q.byTime
	if a.byPrice {
		view = q.byPrice
	}
	rows := view.Query(r.Context(), views.Query[orderKey]{Prefix: prefix, Descending: !a.asc, Limit: a.limit, Cursor: a.cursor})
	for key, order := range rows.All() {
		one.Orders = append(one.Orders, listing{OrderID: key.Sort.Third, ItemLabel: order.Label, ItemPrice: order.Price, PlacedAt: order.PlacedAt})
	}
	one.Next = rows.Cursor()
	return one, rows.Err()
}

// fail answers a query that went wrong.
func (q *queried) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil {
		q.config.Logger.Debug("a query was not answered", "path", r.URL.Path, "error", err)
	}
	views.Refuse(w, r, err)
}

// answer sends a body as JSON.
func (q *queried) answer(w http.ResponseWriter, r *http.Request, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		q.fail(w, r, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", strconv.Itoa(len(encoded)))
	if r.Method != http.MethodHead {
		// The client is gone when this fails; nobody is left to be told.
		_, _ = w.Write(encoded)
	}
}
