/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration as that of every network: sections "vit", "tokenizer", "segmenter", "discriminator", "classifier". */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static pumit_config *section(const pumit_config *config, const char *key)
{
    pumit_config *out;
    return fuzz_took(pumit_config_get_section(&out, config, key)) ? out : NULL;
}

static void make_vit(const pumit_config *config)
{
    pumit_config *own = section(config, "vit"), *head = section(config, "classifier");
    pumit_vit *vit;
    pumit_classifier *classifier;
    if (own && fuzz_took(pumit_vit_create(&vit, fuzz_context(), own))) {
        if (head && fuzz_took(pumit_classifier_create(&classifier, vit, head)))
            pumit_classifier_release(classifier);
        pumit_vit_release(vit);
    }
    pumit_config_release(own);
    pumit_config_release(head);
}

#define MAKE(kind)                                                                                 \
    static void make_##kind(const pumit_config *config)                                            \
    {                                                                                              \
        pumit_config *own = section(config, #kind);                                                \
        pumit_##kind *made;                                                                        \
        if (own && fuzz_took(pumit_##kind##_create(&made, fuzz_context(), own)))                   \
            pumit_##kind##_release(made);                                                          \
        pumit_config_release(own);                                                                 \
    }
MAKE(tokenizer)
MAKE(segmenter)
MAKE(discriminator)

int fuzz_model(const uint8_t *data, size_t bytes)
{
    pumit_config *config;
    char *text = fuzz_text(data, bytes);
    const bool parsed = fuzz_took(pumit_config_parse(&config, text));
    free(text);
    if (!parsed) return 0;
    make_vit(config);
    make_tokenizer(config);
    make_segmenter(config);
    make_discriminator(config);
    pumit_config_release(config);
    return 0;
}

FUZZ_TARGET(fuzz_model)
