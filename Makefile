# Cedarwall. `make demo` and `make test` do all the set-up on a fresh Debian.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

CARGO ?= cargo
TOOLS := $(CURDIR)/target/tools
CARGO_DENY := $(shell command -v cargo-deny || echo $(TOOLS)/bin/cargo-deny)
CARGO_FUZZ := $(TOOLS)/bin/cargo-fuzz
CEDARWALL := target/debug/cedarwall
# Every policy that is shipped, each with its table.
POLICIES := $(patsubst %/tests.txt,%,$(wildcard policies/*/tests.txt))
# A network namespace to check rulesets in: the host's own is never touched.
ISOLATED := unshare --net $(if $(filter 0,$(shell id -u)),,--user --map-root-user)

# How long `make fuzz` searches, for each kind of input.
FUZZ_SECONDS ?= 180

# What `make bench` is told: `BENCH="--what cached,unique --rounds 3"`.
BENCH ?=

.PHONY: help demo test check fuzz bench build image packages engine checkers

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: packages ## Build, and tell the story on a real kernel, each step checked
	$(CARGO) build --release --locked
	target/release/cedarwall demo

test: packages engine checkers ## Run every test: unit, property, and on the real kernel (as root)
	$(CARGO) test --locked

check: packages $(CARGO_DENY) ## Format, lints, docs, licences, shipped files
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	for crate in tests/battery benches/peers; do \
		(cd $$crate && $(CARGO) fmt --check && $(CARGO) clippy --locked --all-targets -- -D warnings && $(CARGO) test --locked) \
			|| exit 1; \
	done
	$(CARGO_DENY) --locked check licenses bans sources
	$(CARGO) build --locked
	$(CEDARWALL) check --config cedarwall.toml
	for folder in $(filter-out policies/story,$(POLICIES)); do $(CEDARWALL) check --deny-warnings $$folder || exit 1; done
	$(CEDARWALL) check --catch-all-forbid default-deny policies/story
	$(CEDARWALL) fmt --check policies
	$(CEDARWALL) test $(POLICIES:%=%/tests.txt)
	$(CEDARWALL) man | MANROFFSEQ= man --warnings --local-file - > /dev/null
	for file in $(filter-out nft/capture.nft,$(wildcard nft/*.nft)); do $(ISOLATED) sh -c "ip link add eth0 type veth; nft -c -f $$file" || exit 1; done
	cat nft/gateway.nft nft/capture.nft | $(ISOLATED) nft -c -f /dev/stdin
	mkdir -p target/packaging
	sed 's:/usr/bin/cedarwall:$(CURDIR)/$(CEDARWALL):' packaging/cedarwall.service > target/packaging/cedarwall.service
	systemd-analyze verify target/packaging/cedarwall.service
	$(CEDARWALL) ruleset --config cedarwall.toml | $(ISOLATED) nft -c -f /dev/stdin

# What is found is kept in fuzz/artifacts; the corpus stays as it is.
fuzz: packages $(CARGO_FUZZ) ## Search for inputs that break a promise (Rust's nightly; FUZZ_SECONDS=180 each)
	for kind in $(notdir $(wildcard fuzz/corpus/*)); do \
		mkdir -p fuzz/target/found/$$kind; \
		PATH="$(TOOLS)/bin:$$PATH" cargo +nightly fuzz run --sanitizer none $$kind \
			fuzz/target/found/$$kind fuzz/corpus/$$kind -- -max_total_time=$(FUZZ_SECONDS) -timeout=10 || exit 1; \
	done

# In namespaces of its own, which go when it ends. Nothing else should run on
# the machine meanwhile; it says so where something does.
bench: packages ## Measure the wall beside dnsmasq, Unbound, dnsdist, Knot, SmartDNS: benches/results/ (as root)
	@sh .ci/packages bench
	$(CARGO) build --release --locked
	cd benches/peers && $(CARGO) build --release --locked --target-dir ../../target/bench-peers
	target/bench-peers/release/peers run --cedarwall target/release/cedarwall $(BENCH)

build: packages ## Build the release binary
	$(CARGO) build --release --locked

# On an engine of its own, which it starts: yours is not asked.
image: packages engine ## Do as a new user: clone, docker build, compose up, install packages behind the wall (as root)
	$(CARGO) test --locked --test docker_trial -- --ignored --nocapture --test-threads 1

packages:
	@sh .ci/packages

engine:
	@sh .ci/packages engine

# What checks the examples: pinned, once, into target/tools.
checkers: packages
	@sh .ci/checkers/install

$(TOOLS)/bin/cargo-deny:
	$(CARGO) install --locked --root $(TOOLS) --version 0.20.2 cargo-deny

$(TOOLS)/bin/cargo-fuzz:
	$(CARGO) install --locked --root $(TOOLS) --version 0.13.2 cargo-fuzz
