# SPDX-License-Identifier: Apache-2.0
# libpumit. `make help` lists what can be made. Everything built lands in $(BUILD).

VERSION := 0.1.0
ABI     := 0

prefix     ?= /usr/local
bindir     ?= $(prefix)/bin
libdir     ?= $(prefix)/lib
includedir ?= $(prefix)/include
datadir    ?= $(prefix)/share
DESTDIR    ?=
BUILD      ?= build

CC     ?= cc
CXX    ?= c++
PYTHON ?= /usr/bin/python3

PACKAGES := gcc g++ libc6-dev make pkg-config libdnnl-dev libopenblas-openmp-dev zlib1g-dev libnifti2-dev \
	libcjson-dev libpng-dev libturbojpeg0-dev libzip-dev libtiff-dev check abigail-tools python3 python3-numpy python3-nibabel

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wformat=2 -Wwrite-strings -Wundef -Wvla \
	-Wno-pass-failed # clang: a loop that `omp simd` did not vectorise is slow, not wrong
CFLAGS   ?= -O2 -g
# What Debian's dpkg-buildflags give, and CET; scripts/check-hardening looks for it. Sanitizers see more without.
HARDENING := $(if $(findstring -fsanitize,$(CFLAGS))$(filter -O0,$(CFLAGS)),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 \
	-fstack-protector-strong -fstack-clash-protection -fcf-protection)
# The folder of the sources enters nothing, so that builds in different folders are the same bytes.
SAME      := -ffile-prefix-map=$(CURDIR)=.
BASE     := -std=gnu11 -D_GNU_SOURCE -Iinclude -I. -I/usr/include/nifti -fvisibility=hidden -fPIC -fopenmp -MMD -MP \
	$(SAME) -ffp-contract=off -DPUMIT_BUILD
LIBS     := -ldnnl -lopenblas -lnifti2 -lznz -lcjson -lpng -lturbojpeg -ltiff -lzip -lz -lm -lpthread -ldl -fopenmp
LDFLAGS  += -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--as-needed
# Programs find the library beside them and below the same prefix; packages set RPATH= instead.
RPATH    ?= -Wl,-rpath,'$$ORIGIN/..:$$ORIGIN/../lib'

COMPILE = @mkdir -p $(@D) && echo "  CC   $@" && $(CC) $(BASE) $(HARDENING) $(CFLAGS) $(WARNINGS)

# ---------------------------------------------------------------------------------------- the library
SOURCES   := $(sort $(wildcard lib/*/*.c kernels/*.c kernels/cpu/*.c))
REFERENCE := $(sort $(wildcard kernels/reference/*.c))
ISA       := $(sort $(wildcard kernels/cpu/isa/*.c))

OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) \
	$(REFERENCE:%.c=$(BUILD)/%.f32.o) $(REFERENCE:%.c=$(BUILD)/%.f64.o) \
	$(foreach i,generic avx2 avx512,$(ISA:%.c=$(BUILD)/%.$(i).o))

SO     := libpumit.so.$(ABI)
SHARED := $(BUILD)/libpumit.so.$(VERSION)
STATIC := $(BUILD)/libpumit.a

# ------------------------------------------------------------------------------- programs and tests
COMMON        := $(sort $(wildcard examples/common/*.c))
BENCH         := $(sort $(wildcard examples/bench/*.c))
PROGRAMS      := $(patsubst examples/%.c,$(BUILD)/bin/%,$(sort $(wildcard examples/pumit-*.c)))
TEST_SOURCES  := $(filter-out tests/abi/%,$(sort $(wildcard tests/*.c tests/*/*.c)))
TEST_OBJECTS  := $(TEST_SOURCES:%.c=$(BUILD)/%.o)
RUNNER        := $(BUILD)/tests/check_pumit

.PHONY: all
all: $(SHARED) $(STATIC) $(PROGRAMS) $(BUILD)/pumit.pc  ## the library, static and shared, and the programs
.DEFAULT_GOAL := all
.SECONDARY:

$(BUILD)/%.o: %.c
	$(COMPILE) -c $< -o $@
$(BUILD)/%.f32.o: %.c
	$(COMPILE) -DREAL=float -DREAL_IS_FLOAT=1 -O3 -c $< -o $@
$(BUILD)/%.f64.o: %.c
	$(COMPILE) -DREAL=double -DREAL_IS_FLOAT=0 -O3 -c $< -o $@
$(BUILD)/%.generic.o: %.c
	$(COMPILE) -O3 -fno-math-errno -fno-trapping-math -DISA=generic -c $< -o $@
$(BUILD)/%.avx2.o: %.c
	$(COMPILE) -O3 -fno-math-errno -fno-trapping-math -DISA=avx2 -mavx2 -mfma -mf16c -c $< -o $@
$(BUILD)/%.avx512.o: %.c
	$(COMPILE) -O3 -fno-math-errno -fno-trapping-math -DISA=avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -c $< -o $@

$(STATIC): $(OBJECTS)
	@echo "  AR   $@" && rm -f $@ && ar rcsD $@ $^

$(SHARED): $(OBJECTS) pkgconfig/libpumit.map
	@echo "  LD   $@" && $(CC) -shared -Wl,-soname,$(SO) -Wl,--version-script=pkgconfig/libpumit.map -Wl,-z,defs \
		$(LDFLAGS) $(CFLAGS) -o $@ $(OBJECTS) $(LIBS)
	@ln -sf libpumit.so.$(VERSION) $(BUILD)/$(SO) && ln -sf $(SO) $(BUILD)/libpumit.so

$(BUILD)/bin/%: examples/%.c $(COMMON:%.c=$(BUILD)/%.o) $(SHARED)
	@mkdir -p $(@D)
	@echo "  CCLD $@" && $(CC) $(filter-out -fvisibility=hidden,$(BASE)) $(HARDENING) $(CFLAGS) $(WARNINGS) -o $@ $< $(filter %.o,$^) \
		-pie -L$(BUILD) -lpumit -lcjson -lm $(PROGRAM_LIBS) $(LDFLAGS) $(RPATH)

# It measures the machine's own matrix rate with the libraries that libpumit uses.
$(BUILD)/bin/pumit-bench: $(BENCH:%.c=$(BUILD)/%.o)
$(BUILD)/bin/pumit-bench: PROGRAM_LIBS := -ldnnl -lopenblas -lpthread

# What the tests put something before: tests/box_hook.c, tests/faults.c
WRAPPED := pumit__volume_box malloc calloc realloc aligned_alloc posix_memalign free vasprintf __vasprintf_chk \
	opendir gzopen gzdopen zip_open tjInitDecompress TIFFOpenOptionsAlloc pthread_create \
	png_create_read_struct png_create_write_struct \
	dnnl_engine_create dnnl_stream_create dnnl_memory_create dnnl_primitive_create
$(RUNNER): $(TEST_OBJECTS) $(STATIC)
	@echo "  LD   $@" && $(CC) $(CFLAGS) $(LDFLAGS) $(WRAPPED:%=-Wl,--wrap=%) -o $@ $^ -lcheck_pic -lsubunit -lrt $(LIBS)

# They look inside the library: single kernels, and the loader without a training. pumit-bench, which measures networks, is a program.
BENCHES := $(BUILD)/bench/kernels $(BUILD)/bench/loader

$(BUILD)/bench/%: $(BUILD)/bench/%.o $(BUILD)/examples/bench/machine.o \
		$(filter $(BUILD)/tests/kernel_%.o,$(TEST_OBJECTS)) $(STATIC)
	@echo "  LD   $@" && $(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# Rounds over the networks, and more options of pumit-bench, such as BENCHFLAGS='--full --only mim'.
RUNS       ?= 1
BENCHFLAGS ?=

.PHONY: bench
bench: deps $(BENCHES) $(BUILD)/bin/pumit-bench  ## time kernels, loader and networks beside the machine's limits (a few minutes; RUNS=3, BENCHFLAGS=)
	@$(BUILD)/bench/kernels --backend cpu --budget 0.1
	@$(BUILD)/bench/loader --runs 3 --seconds 0.5
	@$(BUILD)/bin/pumit-bench --runs $(RUNS) $(BENCHFLAGS)

PEER = $(PYTHON) bench/peer/networks_peer.py

.PHONY: bench-peer
bench-peer: deps $(BUILD)/bin/pumit-bench  ## the networks in turn with PyTorch, into $(BUILD)/bench-peer.json (PYTHON=one with torch, RUNS=, BENCHFLAGS=)
	@$(PYTHON) -c 'import torch'
	@$(BUILD)/bin/pumit-bench --runs $(RUNS) --peer '$(PEER)' --peer '$(PEER) --compile' \
		--output $(BUILD)/bench-peer.json $(BENCHFLAGS)

-include $(OBJECTS:.o=.d) $(TEST_OBJECTS:.o=.d) $(COMMON:%.c=$(BUILD)/%.d) $(BENCH:%.c=$(BUILD)/%.d) $(wildcard $(BUILD)/bin/*.d)

include install.mk
include fuzz.mk
include packaging/supply.mk
