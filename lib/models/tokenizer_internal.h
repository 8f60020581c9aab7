/* SPDX-License-Identifier: Apache-2.0 */
/* What the tokenizers have in common, for the files that make them up (tokenizer.c, tokenizer_simple.c, tokenizer_vqvae.c). */
#ifndef PUMIT_LIB_MODELS_TOKENIZER_INTERNAL_H
#define PUMIT_LIB_MODELS_TOKENIZER_INTERNAL_H

#include "lib/models/quantizer.h"
#include "lib/models/tokenizer.h"

#define PUMIT__TOKENIZER_LEVELS 6

/* A kind of tokenizer; its struct begins with a pumit_tokenizer. */
typedef struct {
    const char *model; /* config key "model" */
    const char *name;  /* the module's kind: "tokenizer.MODEL" */
    const char *mode;  /* of the quantiser where the configuration has none */
    int64_t size;
    /* Reads what is its own of the configuration, sets `patch` and `halvings`. */
    pumit_status (*read_config)(pumit_tokenizer *tokenizer);
    /* Adds encoder, quantiser, decoder. */
    void (*add_layers)(pumit_tokenizer *tokenizer);
    /* The encoder and the decoder. */
    pumit__feature (*features)(pumit_tokenizer *tokenizer, pumit__feature f);
    pumit_tensor *(*image)(pumit_tokenizer *tokenizer, pumit__feature f);
    void (*destroy)(pumit_module *module);
} pumit__tokenizer_kind;

extern const pumit__tokenizer_kind pumit__tokenizer_simple, pumit__tokenizer_vqvae;

struct pumit_tokenizer {
    pumit_module module;
    const pumit__tokenizer_kind *kind;
    int64_t in_channels;
    int64_t patch[3]; /* voxels of a token of an isotropic image */
    int32_t halvings; /* in plane */
    pumit__quantizer quantizer;
};

/* The list "channels", or `usual` (`count` of them); each a multiple of `groups`. */
pumit_status pumit__tokenizer_read_channels(int64_t channels[PUMIT__TOKENIZER_LEVELS],
                                            int32_t *levels, const pumit_tokenizer *tokenizer,
                                            const int64_t *usual, int32_t count, int64_t groups);
/* Sets `patch` and `halvings` for tokens of 2^halvings voxels, at most 32. */
pumit_status pumit__tokenizer_set_halvings(pumit_tokenizer *tokenizer, int32_t halvings);

#endif
