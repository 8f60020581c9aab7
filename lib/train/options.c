/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of "train": one table, read, checked, and written back with their defaults filled in. */
#include "lib/train/trainer.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

enum kind { WHOLE, REAL, FLAG, TRIPLE, PAIR, REALS, LIST, TEXT, ANY };

static const struct option {
    const char *key;
    enum kind kind;
    size_t offset;
    double least, most;
} OPTIONS[] = {
#define AT(member) offsetof(pumit__train_options, member)
    {"steps", WHOLE, AT(steps), 1, 1e12},
    {"batch", WHOLE, AT(batch), 1, 1e6},
    {"accumulate", WHOLE, AT(accumulate), 1, 1e6},
    {"warmup", WHOLE, AT(warmup), 0, 1e12},
    {"seed", WHOLE, AT(seed), 0, 9e15},
    {"checkpoint_every", WHOLE, AT(checkpoint_every), 0, 1e12},
    {"sheet_every", WHOLE, AT(sheet_every), 0, 1e12},
    {"validate_every", WHOLE, AT(validate_every), 0, 1e12},
    {"validate_batches", WHOLE, AT(validate_batches), 1, 1e6},
    {"tokens", TRIPLE, AT(tokens), 1, 4096},
    {"image_tokens", TRIPLE, AT(image_tokens), 0, 4096},
    {"learning_rate", REAL, AT(learning_rate), 0, 1e30},
    {"least_rate", REAL, AT(least_rate), 0, 1e30},
    {"weight_decay", REAL, AT(weight_decay), 0, 1e3},
    {"clip_norm", REAL, AT(clip_norm), 0, 1e30},
    {"beta2", REAL, AT(beta2), 0, 0.99999999},
    {"mask_ratio", REAL, AT(mask_ratio), 0.01, 0.99},
    {"quant_weight", REAL, AT(quant_weight), -1e6, 1e6},
    {"entropy_weight", REAL, AT(entropy_weight), -1e6, 1e6},
    {"lpips", TEXT, AT(lpips), 0, 0},
    {"perceptual_weight", REAL, AT(perceptual_weight), 0, 1e6},
    {"perceptual_slices", WHOLE, AT(perceptual_slices), 1, 1e6},
    {"gan_weight", REAL, AT(gan_weight), 0, 1e6},
    {"gan_threshold", REAL, AT(gan_threshold), 0, 1e6},
    {"gan_start", WHOLE, AT(gan_start), 0, 1e12},
    {"discriminator_learning_rate", REAL, AT(discriminator_learning_rate), 0, 1e30},
    {"balance", REAL, AT(balance), 0, 1},
    {"keep_last", WHOLE, AT(keep_last), 1, 1e6},
    {"keep_every", WHOLE, AT(keep_every), 0, 1e12},
    {"most_skipped", WHOLE, AT(most_skipped), 1, 1e12},
    {"ema", REAL, AT(ema), 0, 0.99999999},
    {"augment", FLAG, AT(augment), 0, 1},
    {"events", FLAG, AT(events), 0, 1},
    {"workers", WHOLE, AT(workers), 0, 256},
    {"prefetch", WHOLE, AT(prefetch), 1, 1024},
    {"scale_range", PAIR, AT(scale_range), 0.01, 100},
    {"scale_probability", REAL, AT(scale_probability), 0, 1},
    {"slice_scale_probability", REAL, AT(slice_scale_probability), 0, 1},
    {"rotate_probability", REAL, AT(rotate_probability), 0, 1},
    {"spacing", REALS, AT(spacing), 0, 1e6},
    {"foreground", REAL, AT(foreground), 0, 1},
    {"thick", REAL, AT(thick), 0, 1},
    {"flips", TRIPLE, AT(flips), 0, 1},
    {"noise_probability", REAL, AT(noise_probability), 0, 1},
    {"blur_probability", REAL, AT(blur_probability), 0, 1},
    {"low_resolution_probability", REAL, AT(low_resolution_probability), 0, 1},
    {"tone_probability", REAL, AT(tone_probability), 0, 1},
    {"recompute", FLAG, AT(recompute), 0, 1},
    {"packing", FLAG, AT(packing), 0, 1},
    {"norms_every", WHOLE, AT(norms_every), 0, 1e12},
    {"task", TEXT, AT(task), 0, 0},
    {"class_weights", ANY, 0, 0, 0},        /* the recipe reads it, as it knows the classes */
    {"schedule", TEXT, AT(schedule), 0, 0}, /* see check_together() */
    {"milestones", LIST, AT(milestones), 1, 1e12},
    {"milestone_factor", REAL, AT(milestone_factor), 0, 1},
    {"layer_decay", REAL, AT(layer_decay), 0.01, 1},
    {"mixup", REAL, AT(mixup), 0, 4},
    {"augment_strength", REAL, AT(augment_strength), 0, 4},
    {"patience", WHOLE, AT(patience), 0, 1e12},
#undef AT
};

static bool known(const char *key)
{
    for (int64_t i = 0; i < PUMIT__COUNT(OPTIONS); i++)
        if (strcmp(OPTIONS[i].key, key) == 0) return true;
    return false;
}

/* A misspelt key would otherwise silently mean its default. */
static pumit_status check_names(const cJSON *train)
{
    if (!train) return PUMIT_OK;
    PUMIT__REQUIRE(cJSON_IsObject(train), "config key 'train' is not an object");
    for (const cJSON *item = train->child; item; item = item->next)
        PUMIT__REQUIRE(known(item->string), "config key 'train.%s' is unknown", item->string);
    return PUMIT_OK;
}

static pumit_status raise(cJSON *train, const cJSON *part)
{
    for (const cJSON *item = part ? part->child : NULL; item; item = item->next) {
        cJSON *copy;
        if (cJSON_GetObjectItemCaseSensitive(train, item->string)) continue;
        PUMIT__TRY(pumit__json_copy(&copy, item));
        PUMIT__TRY(pumit__json_set(train, item->string, copy));
    }
    return PUMIT_OK;
}

pumit_status pumit__train_options_raise(pumit_config *config, const char *recipe)
{
    static const char *const PARTS[] = {"tokenizer", "vit", "classify", "segment"};
    cJSON *train = cJSON_GetObjectItemCaseSensitive(config->root, "train");
    pumit_status status = PUMIT_OK;
    for (int64_t i = 0; i < PUMIT__COUNT(PARTS); i++) {
        cJSON *part = cJSON_DetachItemFromObjectCaseSensitive(train, PARTS[i]);
        if (status == PUMIT_OK && strcmp(PARTS[i], recipe) == 0) status = raise(train, part);
        cJSON_Delete(part);
    }
    return status;
}

static pumit_status in_range(const struct option *option, double value)
{
    PUMIT__REQUIRE(isfinite(value) && value >= option->least && value <= option->most,
                   "config key 'train.%s' is %g; it must lie between %g and %g", option->key, value,
                   option->least, option->most);
    return PUMIT_OK;
}

static pumit_status read_triple(int64_t triple[3], const struct option *option,
                                pumit_config *config, const char *key)
{
    int32_t count;
    int64_t values[3];
    PUMIT__TRY(pumit_config_get_ints(values, 3, &count, config, key));
    if (count == 0) return PUMIT_OK;
    PUMIT__REQUIRE(count == 3, "config key '%s' has %d values, three are wanted: [d, h, w]", key,
                   (int)count);
    memcpy(triple, values, sizeof values);
    for (int32_t i = 0; i < 3; i++) PUMIT__TRY(in_range(option, (double)triple[i]));
    return PUMIT_OK;
}

static pumit_status read_list(pumit__milestones *list, const struct option *option,
                              pumit_config *config, const char *key)
{
    PUMIT__TRY(
        pumit_config_get_ints(list->steps, PUMIT__MOST_MILESTONES, &list->count, config, key));
    for (int32_t i = 0; i < list->count; i++) {
        PUMIT__TRY(in_range(option, (double)list->steps[i]));
        PUMIT__REQUIRE(i == 0 || list->steps[i] > list->steps[i - 1],
                       "config key '%s': %lld follows %lld, steps rise", key,
                       (long long)list->steps[i], (long long)list->steps[i - 1]);
    }
    return PUMIT_OK;
}

/* `count` numbers; none where the key is absent. */
static pumit_status read_reals(double *values, int32_t count, const struct option *option,
                               const pumit_config *config, const char *key)
{
    const cJSON *const train = cJSON_GetObjectItemCaseSensitive(config->root, "train");
    const cJSON *const item = cJSON_GetObjectItemCaseSensitive(train, option->key);
    if (!item) return PUMIT_OK;
    bool numbers = cJSON_IsArray(item) && cJSON_GetArraySize(item) == count;
    for (int32_t i = 0; i < count && numbers; i++) {
        const cJSON *const number = cJSON_GetArrayItem(item, i);
        numbers = cJSON_IsNumber(number);
        if (numbers) values[i] = number->valuedouble;
    }
    PUMIT__REQUIRE(numbers, "config key '%s' is not %s", key,
                   count == 2 ? "two numbers: [least, most]"
                              : "three numbers: [slice, row, column]");
    for (int32_t i = 0; i < count; i++) PUMIT__TRY(in_range(option, values[i]));
    return PUMIT_OK;
}

/* [least, most] */
static pumit_status read_pair(double pair[2], const struct option *option,
                              const pumit_config *config, const char *key)
{
    PUMIT__TRY(read_reals(pair, 2, option, config, key));
    PUMIT__REQUIRE(pair[0] <= pair[1], "config key '%s' is [%g, %g]: the least comes first", key,
                   pair[0], pair[1]);
    return PUMIT_OK;
}

static pumit_status read_option(void *value, const struct option *option, pumit_config *config,
                                const char *key)
{
    double checked;
    switch (option->kind) {
    case WHOLE:
        PUMIT__TRY(pumit_config_get_int(value, config, key, *(const int64_t *)value));
        checked = (double)*(const int64_t *)value;
        break;
    case REAL:
        PUMIT__TRY(pumit_config_get_double(value, config, key, *(const double *)value));
        checked = *(const double *)value;
        break;
    case FLAG:
        return pumit_config_get_bool(value, config, key, *(const int32_t *)value);
    case TEXT:
        return pumit_config_get_string(value, config, key, NULL);
    case PAIR:
        return read_pair(value, option, config, key);
    case REALS:
        return read_reals(value, 3, option, config, key);
    case LIST:
        return read_list(value, option, config, key);
    case ANY:
        return PUMIT_OK;
    case TRIPLE:
    default:
        return read_triple(value, option, config, key);
    }
    return in_range(option, checked);
}

static pumit_status keep_option(const void *value, const struct option *option,
                                pumit_config *config, const char *key)
{
    char text[96];
    const int64_t *const triple = value;
    const double *const real = value;
    switch (option->kind) {
    case WHOLE:
        return pumit_config_set_int(config, key, *(const int64_t *)value);
    case REAL:
        return pumit_config_set_double(config, key, *(const double *)value);
    case FLAG:
        return pumit_config_set_bool(config, key, *(const int32_t *)value);
    case TEXT:
    case LIST:
    case ANY:
        return PUMIT_OK; /* it is the config's own */
    case PAIR:
        snprintf(text, sizeof text, "[%.17g, %.17g]", real[0], real[1]);
        return pumit_config_set_json(config, key, text);
    case REALS:
        snprintf(text, sizeof text, "[%.17g, %.17g, %.17g]", real[0], real[1], real[2]);
        return pumit_config_set_json(config, key, text);
    case TRIPLE:
    default:
        snprintf(text, sizeof text, "[%lld, %lld, %lld]", (long long)triple[0],
                 (long long)triple[1], (long long)triple[2]);
        return pumit_config_set_json(config, key, text);
    }
}

static pumit_status take_option(pumit_trainer *t, const struct option *option)
{
    void *const value = (char *)&t->options + option->offset;
    char key[64];
    snprintf(key, sizeof key, "train.%s", option->key);
    PUMIT__TRY(read_option(value, option, t->config, key));
    return keep_option(value, option, t->config, key);
}

/* Options that count together. A list of milestones is a schedule by itself. */
static pumit_status check_together(const pumit_trainer *t)
{
    const pumit__train_options *const o = &t->options;
    const bool milestones = o->milestones.count > 0;
    PUMIT__REQUIRE(!o->schedule || strcmp(o->schedule, milestones ? "milestones" : "cosine") == 0,
                   "config key 'train.schedule' is '%s'; it is 'cosine', or 'milestones' with "
                   "steps in 'train.milestones'",
                   o->schedule);
    PUMIT__REQUIRE(o->patience == 0 ||
                       (t->recipe->best && t->has_validation && o->validate_every > 0),
                   "config key 'train.patience' needs validations: images to judge by, "
                   "'train.validate_every' above 0, and a recipe that chooses its result by them");
    return PUMIT_OK;
}

pumit_status pumit__train_options_read(pumit_trainer *t)
{
    PUMIT__TRY(check_names(cJSON_GetObjectItemCaseSensitive(t->config->root, "train")));
    t->options = (pumit__train_options){.steps = 1000,
                                        .batch = 8,
                                        .accumulate = 1,
                                        .warmup = 50,
                                        .checkpoint_every = 250,
                                        .keep_last = 2,
                                        .most_skipped = 10,
                                        .validate_batches = 16,
                                        .tokens = {4, 4, 4},
                                        .learning_rate = 1e-3,
                                        .least_rate = 1e-6,
                                        .weight_decay = 0.05,
                                        .clip_norm = 1,
                                        .beta2 = 0.999,
                                        .mask_ratio = 0.55,
                                        .quant_weight = 1,
                                        .entropy_weight = 0.2,
                                        .perceptual_weight = 1,
                                        .perceptual_slices = 24,
                                        .gan_threshold = 0.025,
                                        .balance = 0.5,
                                        .augment = 1,
                                        .events = 1,
                                        .workers = 1,
                                        .prefetch = 4,
                                        .scale_range = {0.85, 1.25},
                                        .scale_probability = 0.5,
                                        .slice_scale_probability = 0.3,
                                        .rotate_probability = 0.2,
                                        .norms_every = 10,
                                        .milestone_factor = 0.1,
                                        .layer_decay = 1,
                                        .augment_strength = 1};
    t->recipe->defaults(&t->options);
    for (int64_t i = 0; i < PUMIT__COUNT(OPTIONS); i++) PUMIT__TRY(take_option(t, &OPTIONS[i]));
    return check_together(t);
}
