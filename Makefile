# make help lists the targets.

GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(shell sed -n s/^GOLANGCI=//p .ci/run)
FUZZTIME ?= 10s
# The default, a minute to minimize one input, could use up all of FUZZTIME.
FUZZMINIMIZETIME ?= 1s
BENCH    ?= .
COUNT    ?= 1
N        ?= 20000
ROUNDS   ?= 7
SEED     ?=
SEEDS    ?= 10000

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z-]*:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/callq
	go build -trimpath -o bin/callq ./cmd/callq

.PHONY: dev
dev: ## run a demonstration: simulated API, Redis, worker, dashboard, demo calls
	go run ./cmd/callq dev

.PHONY: test
test: ## run the tests with the race detector; those that need redis-server are skipped without one
	go test -race ./...
	cd worker/wiretest && go test -race ./...

.PHONY: test-redis
test-redis: ## the same, but a missing redis-server is a failure
	CALLQ_REQUIRE_REDIS=1 go test -race ./...
	cd worker/wiretest && CALLQ_REQUIRE_REDIS=1 go test -race ./...

.PHONY: test-browser
test-browser: ## test the pages in chromium; pictures of them are kept in .ci/screenshots
	cd worker/admin/browsertest && CALLQ_REQUIRE_BROWSER=1 CALLQ_SCREENSHOTS=$(CURDIR)/.ci/screenshots go test ./...

.PHONY: soak
soak: ## run the tests of the worker, the ledger and the circuit 20 times in any order
	go test -race -count=20 -shuffle=on ./worker ./worker/circuit ./tasks/ledger

.PHONY: simulate
simulate: ## run the model of the fleet for SEEDS seeds (default 10000); SEED is the first, and repeats one
	SEEDS=$(SEEDS) SEED=$(SEED) .ci/simulate

.PHONY: faults
faults: ## kill, stop and cut off workers, Redis and the wire: N calls (default 20000); SEED repeats a run's kills
	CALLQ_REQUIRE_REDIS=1 CALLQ_FAULTS=$(N) CALLQ_SEED=$(SEED) go test -v -count 1 -timeout 60m -parallel 2 \
		-run 'Killed|Kills|Redis|Cluster|Sentinel|Sender|Replaced|Clock|Full|FailOver|IsPaused' ./worker/fleettest
	CALLQ_REQUIRE_REDIS=1 CALLQ_FAULTS=$(N) go test -v -count 1 -timeout 30m -run 'ARunContinuesAfterAKill' ./cmd/callq
	cd worker/wiretest && CALLQ_REQUIRE_REDIS=1 go test -v -count 1 -timeout 30m ./...

.PHONY: night
night: ## replay N made calls (default 20000) by their policy and by a changed one, and the demonstration of each API
	CALLQ_REQUIRE_REDIS=1 CALLQ_NIGHT=$(N) go test -v -count 1 -timeout 60m -run 'TestANight|TheDemonstrationOfAnAPI' ./cmd/callq

.PHONY: lint
lint: ## vet, formatting, import arrows and the rest of .golangci.yml
	go vet ./...
	go run $(GOLANGCI) run ./...

.PHONY: fmt
fmt: ## format the code
	gofmt -w cmd policy tasks worker deploy

.PHONY: fuzz
fuzz: ## run every fuzz test for FUZZTIME (default 10s); failing inputs are kept in testdata/fuzz
	@set -e; for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "== $$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime $(FUZZMINIMIZETIME) $$package; \
		done; \
	done

.PHONY: bench
bench: ## compare callq with asynq in 14 minutes at most: N calls a measurement (default 20000), ROUNDS rounds (default 7)
	go run ./cmd/bench -calls $(N) -rounds $(ROUNDS)

.PHONY: bench-record
bench-record: ## the same, and write the tables into README.md and cmd/bench/RESULTS.md
	go run ./cmd/bench -calls $(N) -rounds $(ROUNDS) -write .

.PHONY: gobench
gobench: ## run the benchmarks of the packages: BENCH selects some, COUNT repeats them
	CALLQ_REQUIRE_REDIS=1 go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) ./...

.PHONY: ci
ci: ## what CI runs, on Debian; installs what is missing
	.ci/run

.PHONY: compose-test
compose-test: ## run docker-compose.yml on this machine's Docker engine without pulling images (needs root, debootstrap, jq)
	deploy/test/compose

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
