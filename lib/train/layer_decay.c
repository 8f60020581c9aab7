/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layer-wise decay of the learning rate (Clark et al. 2020, ELECTRA): block i of L counts decay^(L - i), what comes before the blocks
 * decay^(L + 1), what comes after them 1.
 */
#include "lib/train/trainer.h"

#include <math.h>
#include <stdlib.h>

static pumit_status add_rule(cJSON *rules, const char *prefix, double factor)
{
    cJSON *const items[3] = {cJSON_CreateArray(), cJSON_CreateString(prefix),
                             cJSON_CreateNumber(factor)};
    if (items[0] && items[1] && items[2]) {
        /* these cannot fail: an array takes an item by linking it */
        cJSON_AddItemToArray(items[0], items[1]);
        cJSON_AddItemToArray(items[0], items[2]);
        cJSON_AddItemToArray(rules, items[0]);
        return PUMIT_OK;
    }
    for (int i = 0; i < 3; i++) cJSON_Delete(items[i]);
    return pumit__fail_memory((int64_t)sizeof **items, "rates of layers");
}

/* The first rule that fits counts: blocks and the last norm before the rest of the transformer. */
static pumit_status add_rules(cJSON *rules, int64_t depth, double decay)
{
    char prefix[48];
    for (int64_t i = 0; i < depth; i++) {
        snprintf(prefix, sizeof prefix, "backbone.blocks.%lld.", (long long)i);
        PUMIT__TRY(add_rule(rules, prefix, pow(decay, (double)(depth - i))));
    }
    PUMIT__TRY(add_rule(rules, "backbone.norm.", 1));
    return add_rule(rules, "backbone.", pow(decay, (double)(depth + 1)));
}

pumit_status pumit__layer_decay(pumit_config *optimizer, const pumit_module *vit, double decay)
{
    int64_t depth;
    pumit_config *config;
    PUMIT__TRY(pumit_module_config(&config, vit));
    cJSON *rules = cJSON_CreateArray();
    pumit_status status = pumit_config_get_int(&depth, config, "depth", 12);
    if (status == PUMIT_OK && !rules) status = pumit__fail_memory(64, "rates of layers");
    if (status == PUMIT_OK) status = add_rules(rules, depth, decay);
    pumit_config_release(config);
    if (status == PUMIT_OK) return pumit__json_set(optimizer->root, "rate_factors", rules);
    cJSON_Delete(rules);
    return status;
}
