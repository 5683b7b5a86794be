# make test   everything a change has to pass, from a clean clone
# make demo   the paper's experiment on this machine, until Ctrl-C
# make build  ./peerprobe
# make faults how fast another leads when a head is lost, and what is lost then: ten processes in namespaces
# make sim    a million schedules of the simulated election; SEED=N goes on there
# make bench  how fast it is, beside ping and irtt
# make load   what one head carries: memory, processor and take-over with up to 10,000 members
# make compare  the same faults and heartbeats beside memberlist, raft and etcd
# make agree  the Kademlia model against 100 real heads, and their lookups after 30 of them die
# make cover  how much of the code the tests run
# make picture  the picture in the README, from a real run
# make vuln   known vulnerabilities in what is linked

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-print-directory

GO        ?= go
PLATFORMS := linux/amd64 linux/arm64 darwin/arm64 windows/amd64
# The Debian package of each program that a test or a benchmark runs.
PROGRAMS  := ip:iproute2 ping:iputils-ping irtt:irtt gcc:gcc
# A vulnerability database other than the public one: VULNDB=file:///a/copy/of/it
VULNDB    ?=
# Longest that one package's tests may take: some minutes, and several times that beside other work on two cores.
TIMEOUT   ?= 20m

# A checkout without its history builds too.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

.PHONY: test sim schedules build demo faults bench load compare agree cover deps fmt vet lint cross unit once vuln picture

test: deps fmt vet lint cross unit schedules once
	@$(GO) run .ci/vuln/main.go -db '$(VULNDB)' -unasked-ok
	@echo "make test: every step passed"

build:
	$(GO) build -trimpath -ldflags '-s -w' -o peerprobe .

demo:
	$(GO) run . demo

once:
	$(GO) run . demo --once

# Present programs cost nothing; missing ones are installed where that is possible, and named where it is not.
deps:
	@missing=""; for p in $(PROGRAMS); do command -v "$${p%%:*}" >/dev/null || missing="$$missing $${p##*:}"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "deps: installing$$missing"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	  else \
	    echo "deps: the tests need these Debian packages, and only root can install them:$$missing" >&2; \
	    echo "deps: run: sudo apt-get install$$missing" >&2; exit 1; \
	  fi; \
	fi
	@[ "$$(id -u)" = 0 ] || { echo "deps: make test needs root, for the network namespaces of cmd/e2e; without root run: go test ./..." >&2; exit 1; }

fmt:
	@bad=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); [ -z "$$bad" ] || { echo "gofmt differs, run gofmt -w on:"; echo "$$bad"; exit 1; }

vet:
	$(GO) vet ./... ./testdata/bench ./testdata/load ./testdata/picture
	$(GO) vet .ci/gotest/main.go
	$(GO) vet .ci/vuln/main.go

lint:
	$(GO) tool staticcheck ./... ./testdata/bench ./testdata/load ./testdata/picture
	$(GO) mod verify >/dev/null
	$(GO) mod tidy -diff

cross:
	@for p in $(PLATFORMS); do echo "build and vet $$p"; \
	  GOOS=$${p%/*} GOARCH=$${p#*/} CGO_ENABLED=0 $(GO) build ./... ; \
	  GOOS=$${p%/*} GOARCH=$${p#*/} CGO_ENABLED=0 $(GO) vet ./... ; \
	done
	@for tag in nocn nogeo; do echo "build with -tags $$tag, and test node/locate"; \
	  $(GO) build -tags $$tag ./... && $(GO) test -count 1 -tags $$tag ./node/locate ; \
	done

# A test that was skipped fails here: PEERPROBE_TEST_ALL tells the tests, and the summary counts. -count 1, because
# go's cache does not see that cmd/e2e builds and runs the whole program.
unit:
	PEERPROBE_TEST_ALL=1 $(GO) test -race -count 1 -json -timeout $(TIMEOUT) ./... | $(GO) run .ci/gotest/main.go

# The short run of the simulated election, without the race detector: one goroutine lives through a whole schedule.
# A larger heap between two collections saves a quarter of the time.
schedules:
	GOGC=400 $(GO) test -count 1 -timeout $(TIMEOUT) -run 'TestSchedules$$' -v ./cluster/sim -schedules 20000

SEED      ?= 1
SCHEDULES ?= 1000000
sim: build
	GOGC=400 ./peerprobe sim election --schedules $(SCHEDULES) --seed $(SEED)

cover:
	$(GO) test -coverprofile=cover.out ./... && $(GO) tool cover -func=cover.out | tail -n 1

vuln:
	@$(GO) run .ci/vuln/main.go -db '$(VULNDB)'

# More heads than the tests have time for: they meet within half a minute of processor time.
agree:
	$(GO) test -count 1 -v -run 'Agrees|HeadsDie' ./node/dhtsim -heads 100

faults: deps
	$(GO) run ./testdata/faults

bench: deps
	$(GO) run ./testdata/bench

load:
	$(GO) run ./testdata/load

# A module of its own: its libraries are downloaded when somebody asks.
compare: deps
	cd testdata/compare && $(GO) run .

picture: build
	$(GO) run ./testdata/picture -o docs/demo.svg ./peerprobe demo --once
