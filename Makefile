# A thin face: what a target does is in noxfile.py (and scripts/bootstrap, which brings nox).
.PHONY: help build demo demos test test-vms bench lint format clean
NOX := .venv/bin/nox

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1	/' | expand -t 16

build:  ## .venv with gridcentric and gc, node_modules/gridcentric (idempotent)
	@scripts/bootstrap $(if $(filter qemu,$(HYPERVISOR)),--qemu) $(if $(DEMO),--demo=$(DEMO))
	@$(NOX) -s build

demo: build  ## the chat that scales itself: PORT=8080 APP=node|python CROWD=0 HYPERVISOR=process|qemu LISTEN=127.0.0.1; DEMO=NAME: another
	@exec setpriv --pdeathsig TERM env PORT="$(PORT)" LISTEN="$(LISTEN)" APP="$(APP)" CROWD="$(CROWD)" HYPERVISOR="$(HYPERVISOR)" \
	  .venv/bin/python demos/start $(or $(DEMO),chat)

demos: build  ## the names of the demos, for DEMO=NAME
	@.venv/bin/python demos/start

test:  ## everything that CI runs
	@scripts/bootstrap --test
	@$(NOX)

test-vms:  ## all tests with real VMs (QEMU): half an hour
	@scripts/bootstrap --test
	@$(NOX) -s qemu-full

bench: build  ## the figures of the design, each as a ratio: a table, bench-out/*.json and plots
	@$(NOX) -s bench -- $(ROWS)

lint:  ## ruff, mypy, clang-format, clang-tidy, eslint, tsc
	@scripts/bootstrap --test
	@$(NOX) -s lint tidy

format:  ## let the formatters rewrite the sources
	@scripts/bootstrap --test
	@$(NOX) -s format

clean:  ## forget everything built
	rm -rf build .venv .nox node_modules bindings-node/build bindings-node/core bench-out dist
