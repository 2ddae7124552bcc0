# make alone explains itself.
.DEFAULT_GOAL := help
.PHONY: help demo demo-real test check unit race missing bench fuzz soak crash build build-all servers

GO         ?= go
GOFUMPT    := $(GO) run mvdan.cc/gofumpt@v0.12.0
STATIC     := $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
MAILPIT    := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/drawdown-test/mailpit-v1.27.11/mailpit
export TEST_MAILPIT ?= $(MAILPIT)
KANNEL     := PATH="$$PATH:/usr/sbin" command -v bearerbox >/dev/null
# The S3 server of the tests is built once, and no module of ours depends on it.
S3_SERVER  := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/drawdown-test/versitygw-v1.8.0/versitygw
export TEST_VERSITYGW ?= $(S3_SERVER)
# Foreign readers of Parquet, and the official FOCUS validator, each in a Python of its own.
PYTHONS    := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/drawdown-test
export TEST_READERS ?= $(PYTHONS)/readers/bin/python
export TEST_FOCUS_VALIDATOR ?= $(PYTHONS)/validator/bin/python
DEMO_DIR   ?= demo
FUZZ_TIME  ?= 30s
SOAK_TIME  ?= 10m
WORLDS     ?= 100000
CRASHES    ?= 1000
RECORDS    ?= 10000000
# Packages small enough for the race detector.
RACE       := ./rating/... ./jobs/... ./readers/... ./writers/... ./notifier/...
PLATFORMS  := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

# The server that the tests start: the one that is installed, or one that is fetched.
POSTGRES   = command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	TEST_POSTGRES_BIN=$$(cd writers/store/storetest/embedded && $(GO) run . 2>/dev/null) && export TEST_POSTGRES_BIN; }

help: ## say what there is
	@echo "drawdown settles metered usage against prepaid packages. Targets:"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## settle an hour of real usage in ./demo, and show what came of it
	@rm -rf "$(DEMO_DIR)"
	@./bin/drawdown demo "$(DEMO_DIR)"

demo-real: build servers ## the demo with PostgreSQL and S3, started for it
	@rm -rf "$(DEMO_DIR)"
	@$(POSTGRES); $(GO) run ./cmd/demoreal ./bin/drawdown "$(DEMO_DIR)"

build: ## build bin/drawdown
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/drawdown ./cmd/drawdown

build-all: ## build for Linux, macOS and Windows, on amd64 and arm64, into bin/
	@for platform in $(PLATFORMS); do \
		os=$${platform%/*}; arch=$${platform#*/}; suffix=; [ $$os = windows ] && suffix=.exe; \
		echo "bin/drawdown-$$os-$$arch$$suffix"; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -ldflags '-s -w' -o bin/drawdown-$$os-$$arch$$suffix ./cmd/drawdown || exit 1; \
	done

test: check unit race missing ## everything that must hold: style, tests, 100,000 random worlds, races

servers: ## build the servers that tests need, where they are missing
	@[ -x "$(TEST_VERSITYGW)" ] || { echo "== versitygw"; \
		GOBIN="$(dir $(S3_SERVER))" $(GO) install github.com/versity/versitygw/cmd/versitygw@v1.8.0; } || true
	@[ -x "$(MAILPIT)" ] || { echo "== mailpit"; GOBIN="$(dir $(MAILPIT))" $(GO) install github.com/axllent/mailpit@v1.27.11; } || true
	@$(KANNEL) || [ "$(CI)" != true ] || { echo "== kannel"; apt-get install -qq --no-install-recommends kannel kannel-extras; } || true
	@for name in readers validator; do \
		dir="$(PYTHONS)/$$name"; wanted=testdata/foreign/$$name.txt; \
		cmp -s $$wanted "$$dir/installed.txt" || { echo "== python: $$name"; rm -rf "$$dir"; \
			python3 -m venv "$$dir" && "$$dir/bin/pip" install -q --disable-pip-version-check -r $$wanted && cp $$wanted "$$dir/installed.txt"; } \
			|| { rm -rf "$$dir"; echo "cannot be installed here"; }; \
	done

check: ## vet, gofumpt, staticcheck
	@echo "== go vet"; $(GO) vet ./...
	@echo "== gofumpt"; \
	if ! $(GOFUMPT) -version >/dev/null 2>&1; then echo "gofumpt cannot be fetched here: formatting is NOT checked"; \
	else unformatted=$$($(GOFUMPT) -l $$(git ls-files '*.go')); \
		if [ -n "$$unformatted" ]; then echo "not formatted; run gofumpt -w on:"; echo "$$unformatted"; exit 1; fi; fi
	@echo "== staticcheck"; \
	if ! $(STATIC) -version >/dev/null 2>&1; then echo "staticcheck cannot be fetched here: it is NOT run"; \
	else $(STATIC) ./...; fi

unit: servers ## all tests, with WORLDS=100000 random worlds against the slow model
	@$(POSTGRES); echo "== go test"; TEST_WORLDS=$(WORLDS) $(GO) test -timeout 40m ./...
	@echo "== go test (cmd/bench, with DuckDB)"; \
	if [ "$$($(GO) env CGO_ENABLED)" != 1 ] || ! command -v "$$($(GO) env CC)" >/dev/null; then echo "no C compiler here: cmd/bench is NOT tested"; \
	else cd cmd/bench && $(GO) vet ./... && $(GO) test ./...; fi

race: servers ## the race detector over the packages with goroutines
	@$(POSTGRES); echo "== go test -race"; \
	if [ "$$($(GO) env CGO_ENABLED)" != 1 ] || ! command -v "$$($(GO) env CC)" >/dev/null; then echo "no C compiler here: the race detector is NOT run"; \
	else TEST_WORLDS=1000 $(GO) test -race -short -timeout 40m $(RACE); fi

missing: # what could not be tested here; where CI is set, it has failed before
	@[ -x "$(TEST_VERSITYGW)" ] || echo "NOT tested: usage and settlements in S3. versitygw cannot be built here"
	@[ -x "$(TEST_MAILPIT)" ] || echo "NOT tested: e-mail. mailpit cannot be built here"
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || [ -x "$(TEST_CHROMIUM)" ] || echo "NOT tested: what a browser makes of reports and of the HTML mails. Install the package chromium"
	@for shell in zsh fish groff; do command -v $$shell >/dev/null || echo "NOT tested: what $$shell makes of completion or the manual page. Install the package $$shell"; done
	@$(KANNEL) || echo "NOT tested: SMS by Kannel. Install the packages kannel and kannel-extras"
	@[ -x "$(TEST_READERS)" ] || echo "NOT tested: Parquet in pyarrow, polars, pandas and Python's DuckDB. They cannot be installed here (python3 -m venv, pip)"
	@command -v soffice >/dev/null || echo "NOT tested: the workbook in LibreOffice. Install the package libreoffice-calc-nogui"
	@[ -x "$(TEST_FOCUS_VALIDATOR)" ] || echo "NOT tested: FOCUS rows by the official validator. It cannot be installed here (python3 -m venv, pip)"
	@{ $(POSTGRES); } || echo "NOT tested: the state in PostgreSQL. There is none here, and none can be fetched: install postgresql"

soak: ## random worlds against the slow model for SOAK_TIME=10m
	@TEST_SOAK=$(SOAK_TIME) $(GO) test -timeout 0 -run 'Soak|Agree|World' -v ./rating/...
	@TEST_SOAK=$(SOAK_TIME) $(GO) test -timeout 0 -run 'TestTwoYears|TestUntouched' ./cmd/drawdown

crash: ## kill the program CRASHES=1000 times at every step of a commit, and run it again
	@TEST_CRASHES=$(CRASHES) $(GO) test -timeout 0 -run 'Killed|Stopped|DiskFull|EveryCall|EveryRequest|Mutants' -v ./cmd/drawdown

fuzz: ## every fuzz target for FUZZ_TIME=30s
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "== $$package $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZ_TIME) $$package || exit 1; \
		done; \
	done

bench: build ## records per second and memory of each stage, and DuckDB on the same files (RECORDS=10000000)
	@cd cmd/bench && $(GO) run . -drawdown ../../bin/drawdown -records $(RECORDS) -settle-args "--memory 512MiB"
