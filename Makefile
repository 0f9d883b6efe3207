# Everything is made, tried and tested from here. As root on Debian 12 with
# Rust and Python; `make test` and `make demo` install what else they need.

CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
AIRGAP = $(CARGO_TARGET_DIR)/release/airgap
# A virtual environment with the tools that build and check the Python package.
PYTHON = $(CARGO_TARGET_DIR)/python
# Another with Ansible.
ANSIBLE = $(CARGO_TARGET_DIR)/ansible/tools

.PHONY: build install wheel demo test lint unit header abi cli compare differential guard watch capi parity agent python collection ansible fleet lab bench bench-python instructions deb test-boot test-debian12 packages packages-build clean

build: packages-build
	cargo build --release --locked

# The command and the C library, under PREFIX and DESTDIR; it says itself what
# else can be set. It builds nothing, so that root need not.
install:
	scripts/install

# What the build needs of Debian.
packages-build:
	scripts/packages libnftnl-dev libmnl-dev pkg-config gcc

# What the tests and the demonstration need besides.
packages: packages-build
	scripts/packages nftables iptables iproute2 docker.io busybox-static strace kmod util-linux python3 tcpdump

$(PYTHON): airgap-py/tools.txt
	scripts/packages python3-venv
	python3 -m venv --clear $@
	$@/bin/pip install -q -r airgap-py/tools.txt
	touch $@

$(ANSIBLE): tests/ansible/tools.txt
	scripts/packages python3-venv
	python3 -m venv --clear $@
	$@/bin/pip install -q -r tests/ansible/tools.txt
	touch $@

# maturin edits the library that it finds there, so that a second time would
# begin with what the first left.
wheel: packages-build $(PYTHON)
	rm -rf $(CARGO_TARGET_DIR)/maturin $(CARGO_TARGET_DIR)/wheels
	PATH="$(PYTHON)/bin:$$PATH" maturin build --release --locked -m airgap-py/Cargo.toml -o $(CARGO_TARGET_DIR)/wheels

demo: packages build
	python3 tests/lab/demo.py --airgap $(AIRGAP)

test: packages lint unit build cli guard watch capi parity agent python ansible fleet lab instructions

lint: packages-build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit: packages-build
	cargo test --workspace --locked

# The header of the C library, from the comments of its sources.
header:
	AIRGAP_WRITE_HEADER=1 cargo test -q --locked -p airgap-ffi --test header the_header

# The record of the C library's ABI. What breaks programs is not recorded
# unless its number is raised.
abi:
	scripts/packages abigail-tools
	python3 tests/capi/abi.py --write

cli: packages build
	python3 tests/cli/run.py

# Changes that are interrupted, and those that would lock their author out.
guard: packages build
	python3 tests/guard/run.py

watch: packages build
	python3 tests/watch/run.py

# The C library as it is installed, with the tools of those who use it.
capi: packages build
	scripts/packages g++ clang cmake meson groff abigail-tools valgrind
	python3 tests/capi/run.py

# One table of cases through Rust, the command, Python and C.
parity: packages build python
	cargo build -q --locked -p airgap-core --example parity
	python3 tests/parity/run.py

# The agent of examples/, in the laboratory.
agent: packages build
	python3 tests/agent/run.py

# The package from its wheel: types, stubs and tests.
python: packages wheel
	$(PYTHON)/bin/pip install -q --no-index --force-reinstall $(CARGO_TARGET_DIR)/wheels/airgap-*.whl
	cd airgap-py && $(PYTHON)/bin/mypy --no-incremental python/airgap
	cd airgap-py && $(PYTHON)/bin/stubtest airgap
	$(PYTHON)/bin/python airgap-py/tests/run.py

# The archive of the Ansible collection, for `ansible-galaxy collection install`.
collection: $(ANSIBLE)
	$(ANSIBLE)/bin/ansible-galaxy collection build --force ansible --output-path $(CARGO_TARGET_DIR)/ansible/archive

# The collection from its archive: Ansible's own checks, and real plays.
ansible: packages wheel $(ANSIBLE)
	$(ANSIBLE)/bin/python tests/ansible/sanity.py
	$(ANSIBLE)/bin/python tests/ansible/run.py

# Twenty hosts that a controller reaches by ssh.
fleet: packages wheel $(ANSIBLE)
	scripts/packages openssh-server openssh-client
	$(ANSIBLE)/bin/python tests/fleet/run.py

lab: packages build
	python3 tests/lab/run.py --airgap $(AIRGAP) --variant all
	python3 tests/lab/run.py --airgap $(AIRGAP) --variant a,d --containers plain

# What the evaluator says of random packets under random rulesets, beside what
# the kernel does: the kept cases and 500 rulesets of 40 packets and their
# answers.
compare: packages
	cargo run -q --release --locked -p airgap-differential -- --rulesets 500

# The same until it is stopped, or finds a disagreement, which it keeps as a case.
differential: packages
	cargo run -q --release --locked -p airgap-differential

# Figures beside those of others in the same run, written to docs/performance.md.
bench: packages build
	scripts/packages golang-go golang-github-google-nftables-dev
	cargo build --release --locked -p airgap-benches
	cd benches/peer && GO111MODULE=off GOPATH=/usr/share/gocode go build -o $(CARGO_TARGET_DIR)/peer .
	python3 benches/run.py --go $(CARGO_TARGET_DIR)/peer
	$(MAKE) bench-python

# What a program in Python pays beside one in Rust.
bench-python: build wheel
	$(PYTHON)/bin/pip install -q --no-index --force-reinstall $(CARGO_TARGET_DIR)/wheels/airgap-*.whl
	$(PYTHON)/bin/python benches/python_100k.py

# Counts the instructions of fixed work.
instructions: packages build
	scripts/packages valgrind
	python3 benches/guard.py

# The kernel that most hosts run, in qemu under software emulation.
test-debian12: packages build
	tests/debian12/run --airgap $(AIRGAP) --share tests -- python3 /share/tests/debian12/probe.py
	tests/debian12/run --airgap $(AIRGAP) --share tests -- \
		python3 /share/tests/lab/run.py --airgap /usr/bin/airgap --containers plain --variant a,e

CARGO_DEB = $(CARGO_TARGET_DIR)/tools/cargo-deb-3.8.0
DEB = $(CARGO_TARGET_DIR)/debian/airgap.deb

# Without optimisation it is built in a fraction of the time.
$(CARGO_DEB):
	cargo install -q --locked --debug --version 3.8.0 --root $@ cargo-deb

# The Debian package, with the manual and the completions that the command prints.
deb: build $(CARGO_DEB)
	mkdir -p $(CARGO_TARGET_DIR)/deb
	$(AIRGAP) man >$(CARGO_TARGET_DIR)/deb/airgap.8
	$(AIRGAP) completions bash >$(CARGO_TARGET_DIR)/deb/airgap.bash
	$(AIRGAP) completions zsh >$(CARGO_TARGET_DIR)/deb/_airgap
	$(AIRGAP) completions fish >$(CARGO_TARGET_DIR)/deb/airgap.fish
	PATH="$(CARGO_DEB)/bin:$$PATH" cargo deb -q -p airgap-cli --no-build -o $(DEB)

# The package on a Debian 12 that is booted again and again: a quarter of an
# hour, more on a busy computer.
test-boot: packages deb
	scripts/packages mmdebstrap qemu-system-x86 qemu-utils e2fsprogs openssh-client
	python3 tests/boot/run.py --deb $(DEB) --keep $(CARGO_TARGET_DIR)/boot/last

clean:
	cargo clean
