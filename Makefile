# Everything a person needs, in short; Meson does the building.
#   make run    installs what is missing, builds, starts examples/hello
#   make test   installs what is missing, builds, runs every test; ends with "N passed, N failed"
#   make chaos  tortures a cluster under traffic: SEED=1 MINUTES=2 ACCOUNT=nobody; ends with what was asked, and what failed why
#   make chaos-peers  does the same to nginx and HAProxy under supervisord, as far as they can do the same
#   make vm     the same for what depends on the kernel, on Debian's Linux 6.1 in a virtual machine
#   make deb    builds the Debian package; make deb-test installs, upgrades and removes it in a root of its own,
#               make systemd-test does it under systemd in a virtual machine
PREFIX ?= /usr/local
SECONDS ?= 60
SEED ?= $(shell od -An -N2 -tu2 /dev/urandom)
MINUTES ?= 2
ACCOUNT ?= root
PYTHON := /usr/bin/python3

.PHONY: all run test bench chaos chaos-peers vm deb deb-test systemd-test install asan fuzz tidy clean

all: build/build.ninja
	ninja -C build

build/build.ninja:
	@tools/install --check build
	meson setup build --prefix=$(PREFIX)

run:
	@tools/install build run
	@$(MAKE) --no-print-directory all
	@examples/hello/start

test:
	@tools/install build run test
	@$(PYTHON) tools/test

bench:
	@tools/install build run test bench
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tests/bench/bench.py
	@unshare -n sh -c 'ip link set lo up && exec $(PYTHON) tests/bench/gateway/bench.py $(ROWS)'

chaos:
	@tools/install build run test
	@$(MAKE) --no-print-directory all
	@SEED=$(strip $(SEED)) MINUTES=$(MINUTES) ACCOUNT=$(ACCOUNT) $(PYTHON) -m pytest -s -q -p no:cacheprovider tests/scenario/chaos_test.py

chaos-peers:
	@tools/install test peers
	@SEED=$(strip $(SEED)) MINUTES=$(MINUTES) $(PYTHON) tests/chaos/peers.py

vm:
	@tools/install build vm
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tools/vm $(SUITES)

deb:
	@tools/install build deb
	@tools/deb

deb-test:
	@tools/install build test deb deb-test
	@$(PYTHON) -m pytest -q -p no:cacheprovider tests/deb

systemd-test:
	@tools/install build deb deb-test vm
	@$(PYTHON) tools/vm-systemd $(PARTS)

install: all
	meson configure build --prefix=$(PREFIX)
	DESTDIR=$(DESTDIR) meson install -C build

asan:
	@tools/install build test
	@$(PYTHON) tools/test --only asan

fuzz:
	@tools/install build test
	@tools/fuzz $(SECONDS)

tidy:
	@$(PYTHON) tools/tidy

clean:
	rm -rf build build-*
