# SPDX-License-Identifier: Apache-2.0
# Fuzzing: every tests/fuzz/fuzz_NAME.c against the library with sanitizers, from tests/fuzz/corpus/NAME.
# What it finds stays in the build folder: crash-*, timeout-*, leak-*; new inputs in corpus/NAME.

FUZZ_PACKAGES := clang libomp-dev llvm
FUZZ_BUILD    ?= $(BUILD)-fuzz
FUZZ_SECONDS  ?= 600
FUZZ_OPTIONS  ?= -max_len=16384 -timeout=10 -rss_limit_mb=4096 -print_final_stats=1
FUZZ_FLAGS    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_NAMES    := $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

# The cpu backend is written for gcc, so it comes without sanitizers, and the targets compute on `reference`.
FUZZ_PLAIN   := $(filter $(BUILD)/kernels/cpu/%,$(OBJECTS))
FUZZ_OBJECTS := $(patsubst $(BUILD)/%,$(FUZZ_BUILD)/%,$(filter-out $(FUZZ_PLAIN),$(OBJECTS)))
FUZZ_COMPILE  = @mkdir -p $(@D) && echo "  FUZZ $@" && clang $(BASE) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link

$(FUZZ_BUILD)/%.f32.o: %.c
	$(FUZZ_COMPILE) -DREAL=float -DREAL_IS_FLOAT=1 -c $< -o $@
$(FUZZ_BUILD)/%.f64.o: %.c
	$(FUZZ_COMPILE) -DREAL=double -DREAL_IS_FLOAT=0 -c $< -o $@
$(FUZZ_BUILD)/%.o: %.c
	$(FUZZ_COMPILE) -DPUMIT_FUZZ -c $< -o $@

$(FUZZ_BUILD)/fuzz_%: $(FUZZ_BUILD)/tests/fuzz/fuzz_%.o $(FUZZ_OBJECTS) $(FUZZ_PLAIN)
	@echo "  LD   $@" && clang $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

-include $(FUZZ_OBJECTS:.o=.d) $(FUZZ_NAMES:%=$(FUZZ_BUILD)/tests/fuzz/fuzz_%.d)

.PHONY: fuzz
fuzz:  ## feed broken files to the readers, FUZZ_SECONDS (600) each, under sanitizers
	@$(if $(NODEPS),:,scripts/deps $(FUZZ_PACKAGES))
	@$(MAKE) --no-print-directory $(FUZZ_NAMES:%=$(FUZZ_BUILD)/fuzz_%)
	@set -e; for name in $(FUZZ_NAMES); do \
		mkdir -p $(FUZZ_BUILD)/corpus/$$name; \
		OMP_NUM_THREADS=1 $(FUZZ_BUILD)/fuzz_$$name -max_total_time=$(FUZZ_SECONDS) $(FUZZ_OPTIONS) \
			-artifact_prefix=$(FUZZ_BUILD)/ $(FUZZ_BUILD)/corpus/$$name tests/fuzz/corpus/$$name; \
	done
