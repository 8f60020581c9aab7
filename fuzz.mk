# SPDX-License-Identifier: Apache-2.0
# Fuzzing: every tests/fuzz/fuzz_NAME.c against the library with sanitizers, from tests/fuzz/corpus/NAME and with the words of
# tests/fuzz/NAME.dict, if there are any. What it finds stays in the build folder: NAME-crash-*, NAME-timeout-*, ...; new inputs in corpus/NAME.

FUZZ_PACKAGES := clang libomp-dev llvm
FUZZ_BUILD    ?= $(BUILD)-fuzz
FUZZ_SECONDS  ?= 60
FUZZ_OPTIONS  ?= -max_len=16384 -timeout=10 -rss_limit_mb=4096 -print_final_stats=1
FUZZ_FLAGS    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_NAMES    ?= $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

# The cpu backend is written for gcc, so it comes without sanitizers, and the targets compute on `reference`.
FUZZ_PLAIN   := $(filter $(BUILD)/kernels/cpu/%,$(OBJECTS))
FUZZ_OBJECTS := $(patsubst $(BUILD)/%,$(FUZZ_BUILD)/%,$(filter-out $(FUZZ_PLAIN),$(OBJECTS)))
FUZZ_HELPERS := $(patsubst %.c,$(FUZZ_BUILD)/%.o,$(filter-out tests/fuzz/fuzz_% tests/fuzz/mutate.c,$(wildcard tests/fuzz/*.c)))
FUZZ_COMPILE  = @mkdir -p $(@D) && echo "  FUZZ $@" && clang $(BASE) $(FUZZ_FLAGS) $(FUZZ_COVER)
FUZZ_COVER    = -fsanitize=fuzzer-no-link
# Its histograms have 65536 bins, whatever the image: to watch their loops takes longer than all the rest.
$(FUZZ_BUILD)/lib/data/intensity.o: FUZZ_COVER =

$(FUZZ_BUILD)/%.f32.o: %.c
	$(FUZZ_COMPILE) -DREAL=float -DREAL_IS_FLOAT=1 -c $< -o $@
$(FUZZ_BUILD)/%.f64.o: %.c
	$(FUZZ_COMPILE) -DREAL=double -DREAL_IS_FLOAT=0 -c $< -o $@
$(FUZZ_BUILD)/%.o: %.c
	$(FUZZ_COMPILE) -DPUMIT_FUZZ -c $< -o $@

$(FUZZ_BUILD)/fuzz_%: $(FUZZ_BUILD)/tests/fuzz/fuzz_%.o $(FUZZ_HELPERS) $(FUZZ_OBJECTS) $(FUZZ_PLAIN)
	@echo "  LD   $@" && clang $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

FUZZ_TARGETS := $(FUZZ_NAMES:%=$(FUZZ_BUILD)/tests/fuzz/fuzz_%.o)
.SECONDARY: $(FUZZ_OBJECTS) $(FUZZ_HELPERS) $(FUZZ_TARGETS)
-include $(FUZZ_OBJECTS:.o=.d) $(FUZZ_HELPERS:.o=.d) $(FUZZ_TARGETS:.o=.d)

.PHONY: fuzz fuzz-build
fuzz-build: $(FUZZ_NAMES:%=$(FUZZ_BUILD)/fuzz_%)

fuzz:  ## feed broken files to every reader, FUZZ_SECONDS (60) each, under sanitizers (FUZZ_NAMES=png: to one)
	@$(if $(NODEPS),:,scripts/deps $(FUZZ_PACKAGES))
	@$(MAKE) --no-print-directory fuzz-build
	@set -e; for name in $(FUZZ_NAMES); do scripts/fuzz $(FUZZ_BUILD) $$name $(FUZZ_SECONDS) $(FUZZ_OPTIONS); done

# The mutants of a number are the same each time; those that break something are kept as $(BUILD)/mutant-*.
MUTANTS ?= 10000
MUTATE  ?=

.PHONY: mutate
mutate: $(RUNNER)  ## break real files in MUTANTS (10000) ways: an error or a valid result (MUTATE=FOLDER: of a folder, too)
	@$(CHECK_ENV) CK_RUN_SUITE=mutations PUMIT_MUTANTS=$(MUTANTS) PUMIT_MUTATE='$(MUTATE)' $(RUNNER)
