/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Targets for libFuzzer (`make fuzz`), one a file, which the suite fuzz_replay calls with what lies in tests/fuzz/corpus.
 * Each takes any bytes and gives 0; what it must not do is crash, hang or leak.
 */
#ifndef PUMIT_TESTS_FUZZ_H
#define PUMIT_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* A weights file, safetensors or PyTorch: opened, every array read, taken into a small transformer. */
int fuzz_weights(const uint8_t *data, size_t bytes);

/* Compiled with PUMIT_FUZZ, a target is a program of its own. */
#ifdef PUMIT_FUZZ
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
#define FUZZ_TARGET(target)                                                                        \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)                                  \
    {                                                                                              \
        return target(data, bytes);                                                                \
    }
#else
#define FUZZ_TARGET(target)
#endif

#endif
