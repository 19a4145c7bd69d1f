# Tidemill. `make help` lists what there is.
#
# Go 1.21 or later is enough to begin with: it fetches the version that go.mod names.
export GOTOOLCHAIN := auto

GO ?= go
ARGS ?=

# The tools of `make lint`, each at the version that everybody uses.
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
BENCHSTAT   := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.8.0

# Two test binaries at a time: several of them start a broker of their own. tools/test runs some of them alone.
TEST_PARALLEL ?= 2
TEST_TIMEOUT  ?= 15m
TEST_FLAGS    ?=
PACKAGES      ?= ./...

# What has goroutines of its own. The pure packages have none to race.
RACE_PACKAGES ?= ./internal/... ./processors/... ./views/... ./commands/... ./apps/... ./cmd/...
RACE_FLAGS    ?=

FUZZTIME ?= 10s

# Of the fault simulator: the first seed, and how many.
SEED  ?= 1
SEEDS ?= 10000

# Of the benchmark: main, quick, large, growth or full.
BENCH ?= main

# Of the fault campaign: how long it takes, and more of its flags ('-torture.seed=7 -torture.kind=kafka').
TORTURE       ?= 5m
TORTURE_FLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help build run pages test race lint fmt vulncheck fuzz sim mutants torture bench microbench clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the one binary, bin/tidemill
	$(GO) build -o bin/tidemill ./cmd/tidemill

run: build ## everything on the embedded broker, the calculator on :3030 (ARGS='--data DIR' and so on)
	@exec bin/tidemill up $(ARGS)

pages: ## the pages anew, apps/pages/dist from apps/pages/web (needs node and npm; what is built is committed)
	cd apps/pages/web && npm ci --ignore-scripts && npm run check && npm run build

test: ## all tests (the real Kafka is fetched by Maven; without java or mvn its tests are skipped, but not where CI=true)
	$(GO) vet ./...
	@PARALLEL=$(TEST_PARALLEL) FLAGS='-timeout $(TEST_TIMEOUT) $(TEST_FLAGS)' tools/test $(PACKAGES)

race: ## the tests of everything concurrent under the race detector (needs a C compiler)
	@CGO_ENABLED=1 PARALLEL=$(TEST_PARALLEL) FLAGS='-race -timeout $(TEST_TIMEOUT) $(RACE_FLAGS)' tools/test $(RACE_PACKAGES)

lint: vulncheck ## gofumpt, vet, staticcheck, the rules of the house, govulncheck
	@unformatted=$$($(GO) run $(GOFUMPT) -l $$($(GO) list -f '{{.Dir}}' ./...)) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "not formatted, run 'make fmt':"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) test ./internal/house

fmt: ## format with gofumpt
	$(GO) run $(GOFUMPT) -l -w $$($(GO) list -f '{{.Dir}}' ./...)

vulncheck: ## known vulnerabilities in what is called (VULN=require: an unreachable database is an error)
	@tools/vulncheck $(GOVULNCHECK)

fuzz: ## each fuzz target for FUZZTIME
	@FUZZTIME=$(FUZZTIME) tools/fuzz $(PACKAGES)

sim: ## the fault simulator over SEEDS seeds from SEED on
	$(GO) test ./internal/sim -run '^TestSeeds$$' -count=1 -timeout 6h -sim.first=$(SEED) -sim.seeds=$(SEEDS)

mutants: ## deliberate bugs that the simulator must find, each built and run
	$(GO) test ./internal/sim -run '^TestMutants$$' -count=1 -timeout 6h -v -sim.mutants

torture: ## real processes on both brokers, killed, stopped and cut off for TORTURE, and what came of it checked
	$(GO) test ./test/torture -run '^TestTorture$$' -count=1 -timeout 12h -v -torture.for=$(TORTURE) $(TORTURE_FLAGS)

bench: ## against Kafka Streams and goka on a real Kafka: the table, into bench/results (BENCH=quick, large; needs java and mvn)
	@CGO_ENABLED=0 $(GO) build -o bin/bench ./bench
	@exec bin/bench -preset $(BENCH) $(ARGS)

microbench: ## the hot path's benchmarks, COUNT times, compared with the last time's by benchstat (the allocation budgets are tests)
	@BENCHSTAT=$(BENCHSTAT) tools/microbench

clean: ## what was built; not the data, and not the fetched Kafka in .cache
	rm -rf bin
