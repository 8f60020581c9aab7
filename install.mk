# SPDX-License-Identifier: Apache-2.0
# Installing, packing and checking: the second half of the Makefile, which includes this file.
# Nothing here runs a program while make reads it: `make deps` may be what installs the compiler.

pkgconfigdir ?= $(libdir)/pkgconfig
# Debian keeps its own packages in python3/, those of other prefixes by version.
pythondir    ?= $(prefix)/lib/$(if $(filter /usr,$(prefix)),python3,$(shell \
	$(PYTHON) -c 'import sys; print("python%d.%d" % sys.version_info[:2])'))/dist-packages

LDCONFIG     ?= ldconfig

LINT_PACKAGES := clang-format shellcheck cppcheck

# ------------------------------------------------------------------------------------------ packages
.PHONY: deps
deps:  ## install the Debian or Ubuntu packages that are missing (NODEPS=1: leave the system alone)
	@$(if $(NODEPS),:,scripts/deps $(PACKAGES))

# ----------------------------------------------------------------------------------------- installing
# mode:source:destination of every file that is installed; `uninstall` removes the destinations.
INSTALL_FILES = \
	755:$(SHARED):$(libdir)/libpumit.so.$(VERSION) \
	644:$(STATIC):$(libdir)/libpumit.a \
	644:$(BUILD)/pumit.pc:$(pkgconfigdir)/pumit.pc \
	644:bindings/cxx/pumit.hpp:$(includedir)/pumit.hpp \
	$(foreach f,$(sort $(wildcard include/pumit/*.h include/pumit/*.inc bindings/cxx/pumit/*.hpp)), \
		644:$f:$(includedir)/pumit/$(notdir $f)) \
	$(foreach f,$(PROGRAMS),755:$f:$(bindir)/$(notdir $f)) \
	$(foreach f,$(sort $(wildcard bindings/python/pumit/*.py bindings/python/pumit/py.typed)), \
		644:$f:$(pythondir)/pumit/$(notdir $f)) \
	$(foreach f,$(sort $(wildcard examples/configs/*.json)), \
		644:$f:$(datadir)/pumit/configs/$(notdir $f)) \
	$(foreach f,LICENSE README.md,644:$f:$(datadir)/doc/pumit/$f)
INSTALL_LINKS = $(libdir)/$(SO) $(libdir)/libpumit.so
# Folders that only hold our files.
INSTALL_FOLDERS = $(includedir)/pumit $(pythondir)/pumit/__pycache__ $(pythondir)/pumit \
	$(datadir)/pumit/configs $(datadir)/pumit $(datadir)/doc/pumit

.PHONY: install
install: all  ## copy everything below $(DESTDIR)$(prefix); libdir, includedir, pythondir can be set too
	@set -e; for each in $(INSTALL_FILES); do \
		mode=$${each%%:*}; rest=$${each#*:}; \
		install -D -m $$mode "$${rest%%:*}" "$(DESTDIR)$${rest#*:}"; \
	done
	@ln -sf libpumit.so.$(VERSION) "$(DESTDIR)$(libdir)/$(SO)"
	@ln -sf $(SO) "$(DESTDIR)$(libdir)/libpumit.so"
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then $(LDCONFIG); fi
	@echo "installed to $(DESTDIR)$(prefix)"

.PHONY: uninstall
uninstall:  ## remove what `make install` with the same folders has put there
	@for each in $(INSTALL_FILES); do rm -f "$(DESTDIR)$${each##*:}"; done
	@for each in $(INSTALL_LINKS); do rm -f "$(DESTDIR)$$each"; done
	@rm -f "$(DESTDIR)$(pythondir)"/pumit/__pycache__/*.pyc
	@for each in $(INSTALL_FOLDERS); do \
		if [ -d "$(DESTDIR)$$each" ]; then rmdir "$(DESTDIR)$$each"; fi; done
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then $(LDCONFIG); fi

# The folders may differ from one call to the next, so the file is made anew when its text would change.
# Folders below the prefix are written in terms of it, so that pkg-config can move the whole.
.PHONY: always
$(BUILD)/pumit.pc: pkgconfig/pumit.pc.in always
	@mkdir -p $(@D) && sed -e 's|@prefix@|$(prefix)|' \
		-e 's|@libdir@|$(patsubst $(prefix)/%,$${prefix}/%,$(libdir))|' \
		-e 's|@includedir@|$(patsubst $(prefix)/%,$${prefix}/%,$(includedir))|' \
		-e 's|@version@|$(VERSION)|' $< > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

.PHONY: dist
dist:  ## the committed sources as $(BUILD)/libpumit-VERSION.tar.gz, the same bytes each time
	@mkdir -p $(BUILD)
	@git archive --prefix=libpumit-$(VERSION)/ HEAD | gzip -9n > $(BUILD)/libpumit-$(VERSION).tar.gz
	@sha256sum $(BUILD)/libpumit-$(VERSION).tar.gz

# ------------------------------------------------------------------------------------------- checking
CXXFLAGS     ?= -O1 -g
CXX_WARNINGS := -std=c++17 -Wall -Wextra -Wpedantic -Werror -Wshadow
CXX_SOURCES  := $(sort $(wildcard tests/cxx/*.cpp bindings/cxx/examples/*.cpp))
CXX_PROGRAMS := $(CXX_SOURCES:%.cpp=$(BUILD)/%)

$(CXX_PROGRAMS): $(BUILD)/%: %.cpp $(SHARED)
	@mkdir -p $(@D)
	@echo "  CXX  $@" && $(CXX) $(CXX_WARNINGS) $(CXXFLAGS) -MMD -MP -MF $@.d -Iinclude -Ibindings/cxx \
		-o $@ $< -L$(BUILD) -lpumit -Wl,-rpath,$(abspath $(BUILD))
-include $(CXX_PROGRAMS:%=%.d)

.PHONY: stage
stage: all  ## install into $(BUILD)/stage, as the tests of the installed library need it
	@rm -rf $(BUILD)/stage
	@$(MAKE) --no-print-directory install DESTDIR= prefix=$(abspath $(BUILD))/stage LDCONFIG=:

.PHONY: check
check: deps  ## install what is missing, build, run every test; the last line is the summary
	@$(MAKE) --no-print-directory check-run

# Waiting threads sleep (spinning ones cost more than the work where tests share a machine), and a test that
# takes seconds on a busy one is not a test that hangs.
# The bindings under test are run with these; a library with sanitizers needs its runtime loaded first.
CHECK_ENV = OMP_WAIT_POLICY=passive CK_DEFAULT_TIMEOUT=120 PUMIT_BUILD='$(abspath $(BUILD))' PUMIT_SOURCE='$(CURDIR)' CC='$(CC)' CXX='$(CXX)' \
	PYTHON='$(PYTHON)' $(if $(SANITIZE),PUMIT_CFLAGS='$(CFLAGS)' \
	PUMIT_PRELOAD="$$($(CC) -print-file-name=libasan.so)")

.PHONY: check-run
check-run: $(RUNNER) $(CXX_PROGRAMS) $(BENCHES) stage
	@status=0; $(CHECK_ENV) $(RUNNER) > $(BUILD)/check.log 2>&1 || status=$$?; \
	cat $(BUILD)/check.log; grep '^[0-9]*%: Checks:' $(BUILD)/check.log | tail -n 1; exit $$status

.PHONY: check-asan
check-asan:  ## the tests with address, undefined-behaviour and leak sanitizers, in a build of its own
	@$(MAKE) --no-print-directory check BUILD=$(BUILD)-asan SANITIZE=1 CK_TIMEOUT_MULTIPLIER=10 \
		CFLAGS='-O1 -g -fsanitize=address,undefined -fno-omit-frame-pointer' \
		CXXFLAGS='-O1 -g -fsanitize=address,undefined -fno-omit-frame-pointer'

# OpenMP's library is not built for this sanitizer, which does not see its barriers. With one thread there are no teams, and what is
# checked are the library's own threads, and contexts beside each other.
TSAN_SUITES := shared threads fork loader prepare prepare_restart

.PHONY: check-tsan
check-tsan: deps  ## the tests of what has threads, with the thread sanitizer, in a build of its own
	@$(MAKE) --no-print-directory check-tsan-run BUILD=$(BUILD)-tsan CFLAGS='-O1 -g -fsanitize=thread'

.PHONY: check-tsan-run
check-tsan-run: $(RUNNER)
	@set -e; for suite in $(TSAN_SUITES); do \
		$(CHECK_ENV) OMP_THREAD_LIMIT=1 CK_TIMEOUT_MULTIPLIER=10 CK_RUN_SUITE=$$suite \
			TSAN_OPTIONS='suppressions=$(CURDIR)/tests/tsan.supp print_suppressions=0' $(RUNNER); done

.PHONY: check-full
check-full:  ## the tests under sanitizers, and with every allocation and every call of the system failing (hours)
	@PUMIT_SWEEP=full $(MAKE) --no-print-directory check-asan
	@$(MAKE) --no-print-directory check-tsan

.PHONY: abi-check
abi-check: deps $(SHARED)  ## headers and library against the promised interface: docs/abi.md
	@CC='$(CC)' scripts/abi check include $(BUILD)/libpumit.so

.PHONY: abi-update
abi-update:  ## promise the interface of today; docs/abi.md says when that is right
	@CC='$(CC)' scripts/abi update include

# Rows are never empty, so sums of exponentials are positive; scratch memory holds doubles and floats.
CPPCHECK_SUPPRESS := missingIncludeSystem invalidFunctionArg invalidPointerCast

.PHONY: lint
lint:  ## layout, include directions, banned calls, headers alone, shell scripts, static analysis
	@$(if $(NODEPS),:,scripts/deps $(LINT_PACKAGES))
	@git ls-files '*.c' '*.h' '*.cpp' '*.hpp' | xargs clang-format --dry-run -Werror
	@scripts/check-includes
	@scripts/check-banned
	@scripts/check-data
	@CC='$(CC)' CXX='$(CXX)' scripts/check-headers
	@scripts/api-docs | diff -u docs/api.md - || { echo "run make docs"; exit 1; }
	@git ls-files | xargs grep -lE '^#!.*\b(ba)?sh$$' | xargs shellcheck
	@cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,portability \
		$(CPPCHECK_SUPPRESS:%=--suppress=%) -DREAL=float -DISA=generic -j 2 -Iinclude -I. lib kernels examples
	@echo "lint: clean"

# --------------------------------------------------------------------------------------------- the rest
.PHONY: docs
docs:  ## docs/api.md from the comments of the public headers
	@scripts/api-docs > docs/api.md.new && mv docs/api.md.new docs/api.md

.PHONY: demo
demo: deps  ## install what is missing, build, and go the whole way on real images (DEMO_PERCENT=10: a glance)
	@$(MAKE) --no-print-directory demo-run

.PHONY: demo-run
demo-run: all
	@PUMIT_BIN='$(abspath $(BUILD))/bin' examples/demo/run.sh '$(BUILD)/demo'

.PHONY: clean
clean:  ## remove $(BUILD)
	rm -rf $(BUILD)

.PHONY: help
help:  ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What only pattern rules name is kept: the programs' common objects, the benchmarks' own.
.SECONDARY: $(COMMON:%.c=$(BUILD)/%.o) $(patsubst %.c,$(BUILD)/%.o,$(wildcard bench/*.c))
