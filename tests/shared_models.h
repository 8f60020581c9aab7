/* SPDX-License-Identifier: Apache-2.0 */
/* Small models of every kind that can be shared, and one result of each: for tests of contexts beside each other. No Check inside, so that
 * any thread may call these; what fails gives false or NULL. */
#ifndef PUMIT_TESTS_SHARED_MODELS_H
#define PUMIT_TESTS_SHARED_MODELS_H

#include <pumit/pumit.h>

#include <stdbool.h>

enum { KIND_VIT, KIND_SIMPLE, KIND_VQVAE, KIND_CLASSIFIER, KIND_SEGMENTER, KINDS };

typedef struct {
    int kind;
    void *handle;
} shared_model;

/* A context of the device "cpu" with so many threads; NULL on failure. */
pumit_context *shared_context(int threads);

bool shared_create(shared_model *model, pumit_context *ctx, int kind);
bool shared_load(shared_model *model, pumit_context *ctx, int kind, const char *path);
bool shared_join(shared_model *model, pumit_context *ctx, const shared_model *of);
pumit_module *shared_module(const shared_model *model);
void shared_release(shared_model *model);

/* A number that every value of a forward pass on a fixed image goes into, bit by bit; 0 on failure. */
uint64_t shared_result(const shared_model *model, pumit_context *ctx);

/* The same of a model's weights. */
uint64_t shared_digest(const pumit_module *module);

#endif
