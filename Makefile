# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The index of all that can be done here; the work itself is in qemu-test/ (build/ makes things, src/ boots them) and in
# cargo. Products are cached in ${XDG_CACHE_HOME:-~/.cache}/crust, named by what they are made from.
#
# KDIR=TREE or KERNEL_TARBALL=FILE: another kernel source than Debian's linux-source-7.3. V=1: show all output.

build := qemu-test/build
harness := $(build)/harness
export APPEND CMD KDIR KERNEL_TARBALL SMP V

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: ## dump, kill and restore a real program in the guest, step by step
	@$(harness) demo

test: ## run all tests and count them; SECTIONS="check native guest apps selftests module kunit stress fuzz demo" for some
	@$(harness) test $(SECTIONS)

check: ## what needs no virtual machine and no root: format, lints, documentation, scripts, unit tests
	@$(harness) test check

deny: ## check licences, sources and advisories of the dependencies, with cargo-deny, which is compiled if it is missing
	@$(build)/deny

shell: ## an interactive guest with the tool, the module, the demo and the cases
	@$(harness) shell

run: ## run one command in the guest: make run CMD="crust check"; FLAVOUR=debug, kasan or kcsan: on another kernel
	@$(harness) run $(if $(FLAVOUR),--$(FLAVOUR)) "$$CMD"

apps: ## dump and restore real programs in the guest; APPS="--mode kill java" for some
	@$(harness) apps $(APPS)

bench: ## measure crust beside CRIU in the guest; BENCH="--runs 3 pipes" is passed on
	@$(harness) bench $(BENCH)

tool: ## build crust, statically linked, and print where it is
	@$(build)/host-packages && echo "$$($(build)/program userspace)/crust"

kernel: ## build the patched kernel and print where it is
	@$(build)/host-packages && $(build)/kernel

debug-kernel: ## build it with lockdep and other checks; kasan-kernel, kcsan-kernel: with these
	@$(build)/host-packages && $(build)/kernel debug

kasan-kernel kcsan-kernel:
	@$(build)/host-packages && $(build)/kernel $(@:-kernel=)

module: ## build ckpt.ko and print where it is
	@$(build)/host-packages && $(build)/module

module-patch: ## make the patch that adds the module to the kernel anew from rust-module/
	@$(build)/module-patch

series: ## apply the patches to a fresh copy of the source, check each with checkpatch.pl, print the tree
	@$(build)/host-packages && $(build)/series

lines: ## count the lines of code that the series adds
	@$(build)/host-packages && $(build)/lines

builds: ## compile the series in the smallest kernels, check its Rust and C, see what grows without the module
	@$(build)/host-packages && $(build)/builds

fuzz: ## fuzz the device for FUZZ_SECONDS (3600) in the guest; FUZZ="--seed 7 --round 3" is passed on
	@$(harness) fuzz $(if $(FLAVOUR),--$(FLAVOUR)) --seconds $(or $(FUZZ_SECONDS),3600) $(FUZZ)

fuzz-input: ## fuzz what reads images and /proc, FUZZ_SECONDS (3600) for each target; FUZZ="--seed 7 decoders" is passed on
	@$(build)/cargo userspace run --quiet --locked -p crust-fuzz -- --seconds $(or $(FUZZ_SECONDS),3600) $(FUZZ)

alone: ## build and boot the kernel with one, two, ... patches of the series (an hour)
	@$(harness) alone

clean: ## remove what was built in the clone
	@rm -rf userspace/target qemu-test/target

clean-cache: ## remove the cache too: kernels, roots, downloads
	@$(build)/clean-cache

.PHONY: help demo test check deny shell run apps bench tool kernel debug-kernel kasan-kernel kcsan-kernel module module-patch \
	series lines builds fuzz fuzz-input alone clean clean-cache
