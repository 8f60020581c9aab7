/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files of the patch discriminator: scores, half the hinge loss, its gradients. */
#include "lib/models/discriminator.h"
#include "lib/tensor/ops.h"
#include "tests/golden.h"

static pumit_status check_da(golden *g, pumit_discriminator *d, int32_t da)
{
    char key[64];
    pumit_tensor *real = golden_tensor(g, "in.da%d.real", da),
                 *fake = golden_tensor(g, "in.da%d.fake", da);
    pumit_context_set_recording(g->ctx, 1);
    pumit_tensor *scores = pumit__discriminator_scores(d, real, da);
    pumit_tensor *loss = pumit__affine(
        pumit__hinge_loss(scores, pumit__discriminator_scores(d, fake, da)), 0.5, 0.0);
    pumit_context_set_recording(g->ctx, 0);
    golden_compare(g, scores, golden_tensor(g, "out.da%d.real", da), GOLDEN_FORWARD,
                   "out.da%d.real", da);
    snprintf(key, sizeof key, "out.da%d.loss", da);
    golden_compare_scalar(g, golden_item(loss), key);
    if (!loss) return pumit__last_status();
    PUMIT__TRY(pumit_tensor_backward(loss));
    snprintf(key, sizeof key, "grad.da%d", da);
    golden_compare_gradients(g, pumit_discriminator_module(d), key);
    return PUMIT_OK;
}

pumit_status golden_discriminator(golden *g)
{
    pumit_config *config = NULL;
    pumit_discriminator *d = NULL;
    pumit_status status = golden_config(&config, g);
    if (status == PUMIT_OK) status = pumit_discriminator_create(&d, g->ctx, config);
    if (status == PUMIT_OK)
        status = pumit_module_load_weights(pumit_discriminator_module(d), g->path, "w.", 1, NULL);
    for (int32_t da = 0; da <= PUMIT__MOST_ANISOTROPY && status == PUMIT_OK; da++)
        if (golden_has(g, "in.da%d.real", da)) status = check_da(g, d, da);
    pumit_discriminator_release(d);
    pumit_config_release(config);
    return status;
}
