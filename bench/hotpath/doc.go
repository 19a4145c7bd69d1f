// Package hotpath holds the micro-benchmarks of what a processor does for each record, and their allocation budgets: tests that
// fail where a step allocates more than it may. Times differ from machine to machine; allocations do not.
//
// The budgets of answering a GET and a POST are with package views and commands, that of a view's partition with internal/bridge.
// make microbench runs all benchmarks in a form that benchstat compares.
package hotpath
