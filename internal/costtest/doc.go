// Package costtest holds what is hot to budgets of allocations and of processor time, which say the same on every machine, and
// measures the same work as benchmarks.
package costtest
