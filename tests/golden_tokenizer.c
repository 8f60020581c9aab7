/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files of tokenizers, and the tokenizer inside a transformer's file. */
#include "lib/models/tokenizer_loss.h"
#include "lib/tensor/ops.h"
#include "tests/golden.h"

#include <string.h>

/* The reconstruction of what evaluation makes of x. */
static void compare_reconstruction(golden *g, pumit_tokenizer *t, pumit__feature f, int32_t da)
{
    f.x = pumit__tokenizer_codes_of(t, pumit__tokenizer_tokens(t, f.x));
    golden_compare(g, pumit__tokenizer_image(t, f), golden_tensor(g, "out.da%d.rec", da),
                   GOLDEN_FORWARD, "out.da%d.rec", da);
}

/* The loss, its terms where the file has them, and its gradients. */
static pumit_status compare_loss(golden *g, pumit_tokenizer *t, pumit_tensor *x, int32_t da)
{
    char key[64];
    static const pumit__tokenizer_goal goal = {.quant_weight = 1.0, .entropy_weight = 0.2};
    pumit__tokenizer_outcome outcome;
    pumit_context_set_recording(g->ctx, 1);
    pumit_tensor *loss = pumit__tokenizer_loss(&outcome, t, x, da, &goal);
    pumit_context_set_recording(g->ctx, 0);
    if (!loss) return pumit__last_status();
    const struct {
        const char *name;
        double value;
    } scalars[] = {{"loss", golden_item(loss)},
                   {"prior_loss", outcome.term[PUMIT_TERM_PRIOR]},
                   {"entropy", outcome.term[PUMIT_TERM_ENTROPY]}};
    for (int64_t i = 0; i < PUMIT__COUNT(scalars); i++) {
        snprintf(key, sizeof key, "out.da%d.%s", da, scalars[i].name);
        if (golden_has(g, "%s", key)) golden_compare_scalar(g, scalars[i].value, key);
    }
    PUMIT__TRY(pumit_tensor_backward(loss));
    snprintf(key, sizeof key, "grad.da%d", da);
    golden_compare_gradients(g, pumit_tokenizer_module(t), key);
    return PUMIT_OK;
}

static pumit_status check_simple(golden *g, pumit_tokenizer *t, int32_t da)
{
    pumit_tensor *x = golden_tensor(g, "in.da%d.x", da);
    const pumit__feature f = pumit__tokenizer_features(t, x, da);
    golden_compare(g, pumit__tokenizer_logits(t, f.x), golden_plain(g, "out.da%d.logits", da),
                   GOLDEN_FORWARD, "out.da%d.logits", da);
    compare_reconstruction(g, t, f, da);
    return compare_loss(g, t, x, da);
}

static pumit_status check_vqvae(golden *g, pumit_tokenizer *t, int32_t da)
{
    pumit_tensor *x = golden_tensor(g, "in.da%d.x", da);
    const pumit__feature f = pumit__tokenizer_features(t, x, da);
    golden_compare(g, f.x, golden_tensor(g, "out.da%d.z", da), GOLDEN_FORWARD, "out.da%d.z", da);
    golden_compare(g, pumit__tokenizer_tokens(t, f.x),
                   pumit__one_hot(golden_plain(g, "out.da%d.index", da), pumit_tokenizer_codes(t)),
                   GOLDEN_FORWARD, "out.da%d.index", da);
    compare_reconstruction(g, t, f, da);
    return compare_loss(g, t, x, da);
}

pumit_status golden_tokenizer(golden *g)
{
    const bool vqvae =
        strcmp(pumit__safetensors_metadata(g->file, "pumit.model"), "tokenizer.vqvae") == 0;
    pumit_config *config = NULL;
    pumit_tokenizer *t = NULL;
    pumit_status status = golden_config(&config, g);
    if (status == PUMIT_OK)
        status = pumit_config_set_string(config, "model", vqvae ? "vqvae" : "simple");
    if (status == PUMIT_OK) status = pumit_tokenizer_create(&t, g->ctx, config);
    if (status == PUMIT_OK)
        status = pumit_module_load_weights(pumit_tokenizer_module(t), g->path, "w.", 1, NULL);
    for (int32_t da = 0; da <= PUMIT__MOST_ANISOTROPY && status == PUMIT_OK; da++)
        if (golden_has(g, "in.da%d.x", da))
            status = vqvae ? check_vqvae(g, t, da) : check_simple(g, t, da);
    pumit_tokenizer_release(t);
    pumit_config_release(config);
    return status;
}

/* The tokenizer that a transformer's file carries under "tokenizer.": its sizes are those of its arrays. */
pumit_status golden_carried_tokenizer(pumit_tokenizer **out, golden *g)
{
    char channels[128] = "[";
    size_t used = 1;
    int64_t start = 0;
    for (int32_t i = 0; used < sizeof channels - 24; i += 3) {
        char name[64];
        snprintf(name, sizeof name, "tokenizer.encoder.%d.weight", i);
        const pumit__safetensors_entry *e = pumit__safetensors_find(g->file, name);
        if (!e || e->ndim != 5 || e->shape[2] == 3)
            break; /* the 3x3x3 convolutions follow the stages */
        if (i == 0) start = e->shape[2];
        used += (size_t)snprintf(channels + used, sizeof channels - used, "%s%lld", i ? "," : "",
                                 (long long)e->shape[0]);
    }
    snprintf(channels + used, sizeof channels - used, "]");
    const pumit__safetensors_entry *book =
        pumit__safetensors_find(g->file, "tokenizer.quantize.embedding.weight");
    if (!book || book->ndim != 2)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: carries no tokenizer", g->path);
    pumit_config *config;
    PUMIT__TRY(pumit_config_create(&config));
    pumit_status status = pumit_config_set_json(config, "channels", channels);
    if (status == PUMIT_OK) status = pumit_config_set_int(config, "start_stride", start);
    if (status == PUMIT_OK) status = pumit_config_set_int(config, "codes", book->shape[0]);
    if (status == PUMIT_OK) status = pumit_config_set_int(config, "code_dim", book->shape[1]);
    if (status == PUMIT_OK) status = pumit_tokenizer_create(out, g->ctx, config);
    if (status == PUMIT_OK)
        status =
            pumit_module_load_weights(pumit_tokenizer_module(*out), g->path, "tokenizer.", 1, NULL);
    pumit_config_release(config);
    return status;
}
