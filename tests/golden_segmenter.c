/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files of segmenters: pyramid, decoder, logits, deeply supervised loss and its gradients. */
#include "lib/models/segmenter.h"
#include "tests/golden_kinks.h"

static void compare_maps(golden *g, const pumit__segmenter_maps *maps)
{
    for (int32_t i = 0; i < PUMIT__PYRAMID_MAPS; i++)
        golden_compare(g, maps->pyramid[i].x, golden_tensor(g, "out.pyramid.%d", i), GOLDEN_FORWARD,
                       "out.pyramid.%d", i);
    for (int32_t i = 0; i < maps->count; i++)
        golden_compare(g, maps->features[i], golden_tensor(g, "out.feature.%d", i), GOLDEN_FORWARD,
                       "out.feature.%d", i);
}

/* (N, 1, D, H, W) in the file. */
static pumit_tensor *labels_of(golden *g)
{
    pumit_tensor *labels = golden_plain(g, "in.label");
    if (!labels || labels->ndim != 5) return NULL;
    const int64_t *s = labels->shape, shape[4] = {s[0], s[2], s[3], s[4]};
    return pumit__reshape(labels, 4, shape);
}

typedef struct {
    pumit_segmenter *segmenter;
    pumit_tensor *x, *labels;
} sample;

static pumit_status loss_of(pumit_tensor **loss, void *user)
{
    const sample *s = user;
    return pumit_segmenter_loss(loss, s->segmenter, s->x, NULL, s->labels);
}

static pumit_status check(golden *g, pumit_segmenter *segmenter)
{
    sample s = {segmenter, golden_tensor(g, "in.x"), labels_of(g)};
    pumit_tensor *logits, *loss;
    pumit__segmenter_maps maps;
    int32_t da;
    if (!s.x || !s.labels)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: no in.x or in.label", g->path);
    PUMIT__TRY(pumit__segmenter_da(&da, segmenter, NULL));
    PUMIT__TRY(pumit__segmenter_maps_of(&maps, segmenter, s.x, da));
    compare_maps(g, &maps);
    PUMIT__TRY(pumit_segmenter_forward(&logits, segmenter, s.x, NULL));
    golden_compare(g, logits, golden_tensor(g, "out.logits"), GOLDEN_FORWARD, "out.logits");
    pumit_tensor_release(logits);
    PUMIT__TRY(loss_of(&loss, &s));
    golden_compare_scalar(g, golden_item(loss), "out.loss");
    pumit_tensor_release(loss);
    return golden_check_gradients(g, pumit_segmenter_module(segmenter), "grad", loss_of, &s);
}

pumit_status golden_segmenter(golden *g)
{
    pumit_config *config;
    pumit_segmenter *segmenter = NULL;
    PUMIT__TRY(golden_config(&config, g));
    pumit_status status = pumit_segmenter_create(&segmenter, g->ctx, config);
    if (status == PUMIT_OK)
        status =
            pumit_module_load_weights(pumit_segmenter_module(segmenter), g->path, "w.", 1, NULL);
    if (status == PUMIT_OK) status = check(g, segmenter);
    pumit_segmenter_release(segmenter);
    pumit_config_release(config);
    return status;
}
