# demo:     the nightly job on real WAL that ships with the repository
# test:     all tests; fetches the PostgreSQL servers it wants, says what it skipped
# prove:    the proofs that want servers, in full, on all majors: some hours
# soak:     the WAL backup agent under faults for SOAK, its model for long, and healthy servers read under load for SOAK;
#           before, recovery, the making of snapshots, and deletion are killed KILLS times each
# lint:     gofmt, go vet, golangci-lint and a proof that forbidden imports are caught
# bench:    benchmarks, then the comparison with PostgreSQL's own tools
# fuzz:     every fuzz target for FUZZTIME
# fixtures: remakes the demo's WAL from running servers

SHELL := /bin/bash
CACHE := $(CURDIR)/.cache
export PATH := $(CACHE)/bin:$(PATH)

FUZZTIME ?= 30s
SOAK ?= 10m
# How often make soak kills recoveries, the making of snapshots, and deletions.
KILLS ?= 1000
# The longest a package's tests may take; the servers in them crash and recover.
TIMEOUT ?= 25m

# Packages whose proofs run longer, or on more majors, with REDOUBT_PROVE=1.
PROOFS = ./replay/redo ./replay/server ./verify ./internal/pg/wal ./internal/pg/waldesc ./internal/pg/audit ./replay/native ./scheduler ./recovery ./recovery/discard ./internal/pgtest ./internal/official/snapshot ./cmd/redoubt
OLDER = 14.20 15.15 16.11 17.7 18.1
PROOF_LINES = '^(---|ok|FAIL| +---)|images|differences'

.PHONY: all build demo test test-setup prove soak lint bench fuzz fixtures clean
all: build

build:
	go build -o bin/redoubt ./cmd/redoubt

demo: build
	bin/redoubt demo

# The packages that take longest begin first.
test: test-setup
	go run ./internal/testsum -race -timeout $(TIMEOUT) ./verify ./cmd/redoubt ./replay/native ./...

test-setup:
	@scripts/test-setup

# What the proofs saw is in .cache/prove*.log, and in docs/records.md. The
# second round is on servers of newer minor releases, which register map blocks
# in heap records and know more ways to compress; the first uses those ways. The
# third is on older ones, which log a multixact's successor in another record.
prove: test-setup
	scripts/fetch-debian-postgres trixie 17 && scripts/fetch-debian-postgres sid 18
	rm -f $(CACHE)/proofs.jsonl
	set -o pipefail; REDOUBT_PROVE=1 go test -count=1 -v -p 1 -timeout 8h $(PROOFS) 2>&1 | tee $(CACHE)/prove.log | grep -E $(PROOF_LINES)
	set -o pipefail; newer17=$$(scripts/fetch-debian-postgres trixie 17) && newer18=$$(scripts/fetch-debian-postgres sid 18) && \
	REDOUBT_PROVE=1 REDOUBT_PG17=$$newer17 REDOUBT_PG18=$$newer18 go test -count=1 -v -p 1 -timeout 3h -run '^Test(HeapProof|Mixed|Corpus|Rare|WrapAround)$$/^1[78]' \
		./replay/redo ./verify 2>&1 | tee $(CACHE)/prove-newer.log | grep -E $(PROOF_LINES)
	scripts/fetch-postgres $(OLDER)
	set -o pipefail; REDOUBT_PROVE=1 $(foreach v,$(OLDER),REDOUBT_PG$(basename $(v))=$(CACHE)/pg/$(v)/bin) go test -count=1 -v -p 1 -timeout 3h \
		-run '^Test(Rare|Mixed)$$' ./verify 2>&1 | tee $(CACHE)/prove-older.log | grep -E $(PROOF_LINES)
	go test -count=1 ./verify -run TestRecordTable -update

soak: test-setup
	REDOUBT_KILLS=$(KILLS) go test -count=1 -v -timeout 24h -run '^Test(KilledRecovery|SnapshotKilled|KilledDeletion)$$' ./cmd/redoubt
	REDOUBT_SOAK=$(SOAK) go test -count=1 -v -timeout 24h -run '^TestSoak$$' ./cmd/redoubt
	REDOUBT_MODEL_SEEDS=3000 go test -count=1 -v -timeout 2h -run '^TestModel$$' ./walbackup 2>&1 | grep -v -E '^ *(---|===)'
	REDOUBT_SOAK=$(SOAK) go test -count=1 -v -timeout 24h -run '^TestMoving(Nights|Standby)$$' ./verify

lint: $(CACHE)/bin/golangci-lint
	@files=$$(gofmt -l .); \
	if [ -n "$$files" ]; then echo "gofmt these:"; echo "$$files"; exit 1; fi
	go vet ./...
	golangci-lint run --allow-parallel-runners ./...
	@scripts/check-arrows

bench:
	go test -run=NONE -bench=. ./...
	@if [ -d internal/bench ]; then go run ./internal/bench; fi

fuzz:
	@scripts/fuzz $(FUZZTIME)

fixtures:
	@scripts/fetch-postgres 17
	go run ./internal/demo/makefixture -o internal/demo/fixture.tar.zst

# The tools have a module of their own, so that what they depend on is not
# what Redoubt depends on.
$(CACHE)/bin/golangci-lint $(CACHE)/bin/versitygw $(CACHE)/bin/fake-gcs-server: $(CACHE)/bin/%: tools/go.mod tools/go.sum
	mkdir -p $(CACHE)/bin
	cd tools && go build -o $(CACHE)/bin/ $$(sed -n 's|^\t\(.*/$*\)$$|\1|p' go.mod)

clean:
	rm -rf bin
