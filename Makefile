.DEFAULT_GOAL := help
.PHONY: help demo setup quick test api api-update vulncheck underload interop bench load fuzz measures

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a shop and a provider in one process; needs nothing but Go
	@cd examples && go build -o demo/demo ./demo && exec demo/demo # go run would outlive a SIGTERM

setup: ## install what the tests need and this machine lacks
	@scripts/setup

quick: ## gofmt, vet, the API and the tests of the root module; one or two minutes, needs Go and redis-server
	@scripts/quick

test: setup ## setup, then gofmt, vet, staticcheck and every test of every module; says at the end what failed
	@scripts/test

api: ## fails where the exported API is not as api.txt has it
	@scripts/api

api-update: ## writes the exported API to api.txt
	@scripts/api -update

vulncheck: ## known vulnerabilities in what the modules use (needs the vulnerability database)
	@scripts/vulncheck

underload: ## the tests of the root module COUNT times (20) beside two busy loops; says which failed
	@scripts/underload

interop: setup ## log in at real providers, which it fetches (docs/interop.md)
	@scripts/interop

bench: setup ## the cost of an authenticated request beside its peers (REV=<commit> shows that commit beside it)
	@scripts/bench

load: setup ## what a million sessions take in one Redis (LOAD="-sessions 1000,10000"); with SOAK=10m a soak of ten minutes
	@if [ -n "$(SOAK)" ]; then cd load && go test -count=1 -timeout=0 -v -run='^TestSoak$$' . -soak=$(SOAK); \
	else cd load && go run . $(LOAD); fi

fuzz: ## every fuzz target for FUZZTIME each (10s)
	@scripts/fuzz

measures: ## how the code is arranged, in numbers (REV=<commit> shows that commit beside it)
	@scripts/measures
