/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/bench/work.h"

#include "examples/bench/flops.h"
#include "examples/bench/machine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MASK_RATIO 0.55

/* Of a step with images laid end to end. */
#define PACKED_TOKENS 1500

const work_crop work_crops[WORK_CROPS] = {{"da0", 0, {80, 160, 160}, {48, 64, 48}},
                                          {"da2", 2, {20, 160, 160}, {12, 64, 48}},
                                          {"2d", 5, {1, 160, 160}, {1, 160, 160}}};

#define TRY(call)                                                                                  \
    do {                                                                                           \
        const pumit_status status_ = (call);                                                       \
        if (status_ != PUMIT_OK) return status_;                                                   \
    } while (0)

/* A failure that is not the library's; `why` may be NULL if it was told already. */
static pumit_status fail(work *w, const char *why)
{
    w->failed = true;
    w->why = why;
    return PUMIT_ERROR_CANCELLED;
}

/* ------------------------------------------------------------------------------------------- networks */

static pumit_status section(pumit_config **out, const work *w, const char *name)
{
    return pumit_config_get_section(out, w->config, name);
}

/* `trained`: it will have gradients. */
static void count_parameters(work *w, const pumit_module *module, bool trained)
{
    w->parameters += (double)pumit_module_element_count(module);
    if (trained) w->gradients += (double)pumit_module_element_count(module);
}

static pumit_status open_context(work *w)
{
    pumit_config *options = NULL;
    pumit_status status = pumit_config_create(&options);
    if (status == PUMIT_OK) status = pumit_config_merge(options, w->config);
    if (status == PUMIT_OK) status = pumit_config_set_int(options, "threads", w->threads);
    if (status == PUMIT_OK) status = pumit_context_create(&w->ctx, options);
    pumit_config_release(options);
    return status;
}

static pumit_status make_vit(work *w, bool trained)
{
    pumit_config *config = NULL;
    int64_t codes;
    pumit_status status = section(&config, w, "vit");
    if (status == PUMIT_OK) status = pumit_config_get_int(&codes, config, "codes", 1024);
    if (status == PUMIT_OK) status = pumit_config_set_int(config, "codes", codes);
    if (status == PUMIT_OK) status = pumit_vit_create(&w->vit, w->ctx, config);
    if (status == PUMIT_OK) count_parameters(w, pumit_vit_module(w->vit), trained);
    pumit_config_release(config);
    return status;
}

static pumit_status make_tokenizer(work *w, bool trained)
{
    pumit_config *config = NULL;
    pumit_status status = section(&config, w, "tokenizer");
    if (status == PUMIT_OK) status = pumit_tokenizer_create(&w->tokenizer, w->ctx, config);
    if (status == PUMIT_OK) count_parameters(w, pumit_tokenizer_module(w->tokenizer), trained);
    pumit_config_release(config);
    return status;
}

/* The transformer of "vit" with patches of 8 voxels, adaptive, three classes; "segmenter" may say otherwise. */
static pumit_status segmenter_config(pumit_config **out, const work *w)
{
    pumit_config *own = NULL;
    TRY(section(out, w, "vit"));
    pumit_status status = pumit_config_set_json(*out, "patch", "[8,8,8]");
    if (status == PUMIT_OK) status = pumit_config_set_bool(*out, "adaptive", 1);
    if (status == PUMIT_OK) status = pumit_config_set_int(*out, "classes", 3);
    if (status == PUMIT_OK) status = section(&own, w, "segmenter");
    if (status == PUMIT_OK) status = pumit_config_merge(*out, own);
    pumit_config_release(own);
    return status;
}

static pumit_status make_segmenter(work *w, bool trained, int heads)
{
    pumit_config *config = NULL;
    const work_crop *const crop = w->crop;
    pumit_status status = segmenter_config(&config, w);
    if (status == PUMIT_OK) status = pumit_segmenter_create(&w->segmenter, w->ctx, config);
    if (status == PUMIT_OK) {
        const flop_count count = flops_of_segmenter(config, crop->segmented, crop->da, heads);
        count_parameters(w, pumit_segmenter_module(w->segmenter), trained);
        w->flop = w->batch * (trained ? flops_of_step(count) : count.all);
    }
    pumit_config_release(config);
    return status;
}

/* --------------------------------------------------------------------------------------------- images */

static void fill_noise(float *values, int64_t count)
{
    uint32_t state = 1;
    for (int64_t i = 0; i < count; i++) {
        state = state * UINT32_C(1664525) + UINT32_C(1013904223);
        values[i] = (float)(state >> 8) * 0x1p-24f;
    }
}

static pumit_status make_image(work *w, const int64_t size[3])
{
    const int64_t shape[5] = {w->batch, size[0], size[1], size[2], 3};
    void *data;
    TRY(pumit_tensor_create(&w->image, w->ctx, PUMIT_F32, 5, shape));
    TRY(pumit_tensor_data(&data, w->image));
    fill_noise(data, pumit_tensor_count(w->image));
    w->spacing[0] = ldexp(1.0, w->crop->da);
    w->spacing[1] = w->spacing[2] = 1.0;
    return PUMIT_OK;
}

static pumit_status make_labels(work *w)
{
    const int64_t *const size = pumit_tensor_shape(w->image);
    void *data;
    TRY(pumit_tensor_create(&w->labels, w->ctx, PUMIT_U8, 4, size));
    TRY(pumit_tensor_data(&data, w->labels));
    const int64_t count = pumit_tensor_count(w->labels),
                  classes = pumit_segmenter_classes(w->segmenter);
    for (int64_t i = 0; i < count; i++) ((uint8_t *)data)[i] = (uint8_t)(i * classes / count);
    return PUMIT_OK;
}

static pumit_status make_volume(work *w)
{
    const work_crop *const crop = w->crop;
    const double affine[16] = {0, 0, 1, 0, 0, 1, 0, 0, ldexp(1.0, crop->da), 0, 0, 0, 0, 0, 0, 1};
    const int64_t count = crop->size[0] * crop->size[1] * crop->size[2];
    float *const data = calloc((size_t)count, sizeof *data);
    if (!data) return fail(w, "out of memory");
    fill_noise(data, count);
    const pumit_status status = pumit_volume_create(&w->volume, w->ctx, PUMIT_F32, crop->size, 1,
                                                    data, crop->size[0] > 1 ? affine : NULL);
    free(data);
    return status;
}

static void remove_file(work *w)
{
    if (w->file[0]) unlink(w->file);
    w->file[0] = '\0';
}

/* A model's file, written by a process of its own, so that what follows finds this one as if it had just begun. */
static pumit_status write_model(work *w)
{
    snprintf(w->file, sizeof w->file, "/tmp/pumit-bench-XXXXXX");
    const int file = mkstemp(w->file);
    if (file < 0) return fail(w, "cannot write to /tmp");
    close(file);
    const pid_t pid = fork();
    if (pid == 0) {
        pumit_status status = open_context(w);
        if (status == PUMIT_OK) status = make_vit(w, false);
        if (status == PUMIT_OK) status = pumit_module_save(pumit_vit_module(w->vit), w->file, NULL);
        if (status != PUMIT_OK) fprintf(stderr, "pumit-bench: %s\n", pumit_last_error());
        _exit(status == PUMIT_OK ? 0 : 1);
    }
    int status = 1;
    if (pid < 0 || waitpid(pid, &status, 0) < 0) return fail(w, "cannot start a process");
    if (status != 0) return fail(w, NULL); /* it has told why */
    return PUMIT_OK;
}

/* --------------------------------------------------------------------------------------------- machine */

static pumit_status setup_machine(work *w)
{
    w->limits = machine_create(w->threads);
    return w->limits ? PUMIT_OK : fail(w, "out of memory");
}

static pumit_status call_openblas(work *w)
{
    w->flop = MACHINE_SGEMM_FLOP;
    machine_sgemm(w->limits, 0);
    return PUMIT_OK;
}

static pumit_status call_onednn(work *w)
{
    w->flop = MACHINE_SGEMM_FLOP;
    machine_sgemm(w->limits, 1);
    return PUMIT_OK;
}

static pumit_status call_triad(work *w)
{
    w->bytes = MACHINE_TRIAD_BYTES;
    machine_triad(w->limits);
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------------- inference */

static pumit_status setup_tokenize(work *w)
{
    const work_crop *const crop = w->crop;
    w->flop = w->batch * flops_of_encode(w->config, crop->size, crop->da).all;
    TRY(make_tokenizer(w, false));
    return make_image(w, crop->size);
}

static pumit_status call_tokenize(work *w)
{
    pumit_tensor *tokens;
    TRY(pumit_tokenizer_encode(&tokens, w->tokenizer, w->image, w->spacing));
    pumit_tensor_release(tokens);
    return PUMIT_OK;
}

static pumit_status setup_forward(work *w)
{
    const work_crop *const crop = w->crop;
    w->flop = w->batch * flops_of_vit(w->config, crop->size, crop->da).all;
    TRY(make_vit(w, false));
    return make_image(w, crop->size);
}

static pumit_status call_forward(work *w)
{
    pumit_tensor *hidden;
    TRY(pumit_vit_forward(&hidden, w->vit, w->image, w->spacing));
    pumit_tensor_release(hidden);
    return PUMIT_OK;
}

static pumit_status setup_segment(work *w)
{
    TRY(make_segmenter(w, false, 1));
    return make_image(w, w->crop->segmented);
}

static pumit_status call_segment(work *w)
{
    pumit_tensor *logits;
    TRY(pumit_segmenter_forward(&logits, w->segmenter, w->image, w->spacing));
    pumit_tensor_release(logits);
    return PUMIT_OK;
}

/* ------------------------------------------------------------------------------------------- embedding */

static pumit_status call_embed(work *w)
{
    pumit_tensor *vector;
    TRY(pumit_vit_embed(&vector, w->vit, w->volume));
    pumit_tensor_release(vector);
    return PUMIT_OK;
}

static pumit_status call_load(work *w)
{
    TRY(pumit_vit_load(&w->vit, w->ctx, w->file));
    remove_file(w);
    count_parameters(w, pumit_vit_module(w->vit), false);
    return PUMIT_OK;
}

static pumit_status setup_load(work *w)
{
    TRY(write_model(w));
    return open_context(w);
}

static pumit_status setup_embed_first(work *w)
{
    const work_crop *const crop = w->crop;
    w->flop = flops_of_vit(w->config, crop->size, crop->da).all;
    TRY(setup_load(w));
    return make_volume(w);
}

static pumit_status call_embed_first(work *w)
{
    TRY(call_load(w));
    return call_embed(w);
}

/* Weights come from a file, as they do where images are embedded. */
static pumit_status setup_embed(work *w)
{
    TRY(setup_embed_first(w));
    return call_load(w);
}

/* -------------------------------------------------------------------------------------------- training */

static pumit_status backward_and_forget(pumit_tensor *loss, pumit_module *module)
{
    const pumit_status status = pumit_tensor_backward(loss);
    pumit_tensor_release(loss);
    pumit_module_zero_grad(module);
    return status;
}

static pumit_status setup_tokenizer_step(work *w)
{
    const work_crop *const crop = w->crop;
    w->flop = w->batch * flops_of_step(flops_of_tokenizer(w->config, crop->size, crop->da));
    TRY(make_tokenizer(w, true));
    return make_image(w, crop->size);
}

static pumit_status call_tokenizer_step(work *w)
{
    pumit_tensor *loss;
    TRY(pumit_tokenizer_loss(&loss, NULL, w->tokenizer, w->image, w->spacing, 1.0, 0.2));
    return backward_and_forget(loss, pumit_tokenizer_module(w->tokenizer));
}

static pumit_status setup_mim(work *w, const int64_t size[3])
{
    int64_t grid[3];
    TRY(make_vit(w, true));
    TRY(make_tokenizer(w, false));
    TRY(make_image(w, size));
    TRY(pumit_vit_grid(grid, w->vit, size, w->spacing));
    return pumit_vit_random_visible(&w->visible, w->ctx, w->batch, grid[0] * grid[1] * grid[2],
                                    MASK_RATIO, 1);
}

static pumit_status setup_mim_step(work *w)
{
    const work_crop *const crop = w->crop;
    TRY(setup_mim(w, crop->size));
    w->flop = w->batch *
              flops_of_mim_step(w->config, crop->size, crop->da, pumit_tensor_shape(w->visible)[1]);
    return PUMIT_OK;
}

static pumit_status mim_gradients(work *w)
{
    pumit_tensor *loss;
    TRY(pumit_vit_mim_loss(&loss, w->vit, w->tokenizer, w->image, w->spacing, w->visible));
    const pumit_status status = pumit_tensor_backward(loss);
    pumit_tensor_release(loss);
    return status;
}

static pumit_status call_mim_step(work *w)
{
    TRY(mim_gradients(w));
    pumit_module_zero_grad(pumit_vit_module(w->vit));
    return PUMIT_OK;
}

/* Adds images of `crop` with `tokens` together. */
static pumit_status pack_crop(work *w, const work_crop *crop, int64_t tokens)
{
    const int i = w->packed_count++;
    const double spacing[3] = {ldexp(1.0, crop->da), 1.0, 1.0};
    int64_t grid[3];
    void *data;
    TRY(pumit_vit_grid(grid, w->vit, crop->size, spacing));
    const int64_t length = grid[0] * grid[1] * grid[2], n = tokens / length;
    const int64_t shape[5] = {n, crop->size[0], crop->size[1], crop->size[2], 3};
    memcpy(w->packed_spacing + 3 * i, spacing, sizeof spacing);
    TRY(pumit_tensor_create(&w->packed[i], w->ctx, PUMIT_F32, 5, shape));
    TRY(pumit_tensor_data(&data, w->packed[i]));
    fill_noise(data, pumit_tensor_count(w->packed[i]));
    TRY(pumit_vit_random_visible(&w->packed_visible[i], w->ctx, n, length, MASK_RATIO, 1));
    w->flop += (double)n * flops_of_mim_step(w->config, crop->size, crop->da,
                                             pumit_tensor_shape(w->packed_visible[i])[1]);
    return PUMIT_OK;
}

/* Blocks keep their input alone. */
static pumit_status setup_recompute_step(work *w)
{
    TRY(setup_mim_step(w));
    pumit_vit_set_recompute(w->vit, 1);
    return PUMIT_OK;
}

static pumit_status setup_packed(work *w)
{
    TRY(make_vit(w, true));
    TRY(make_tokenizer(w, false));
    if (!w->kind->plain) return pack_crop(w, w->crop, PACKED_TOKENS);
    for (int i = 0; i < WORK_CROPS; i++)
        TRY(pack_crop(w, &work_crops[i], PACKED_TOKENS / WORK_CROPS));
    return PUMIT_OK;
}

static pumit_status call_packed(work *w)
{
    pumit_tensor *loss;
    TRY(pumit_vit_mim_loss_packed(&loss, w->vit, w->tokenizer, w->packed_count, w->packed,
                                  w->packed_spacing, w->packed_visible));
    return backward_and_forget(loss, pumit_vit_module(w->vit));
}

/* The smallest image that gives every parameter a gradient. */
static pumit_status setup_optimizer_step(work *w)
{
    static const int64_t size[3] = {16, 32, 32};
    pumit_config *config = NULL;
    TRY(setup_mim(w, size));
    pumit_status status = pumit_config_create(&config);
    if (status == PUMIT_OK) status = pumit_config_set_double(config, "clip_norm", 3.0);
    if (status == PUMIT_OK)
        status = pumit_optimizer_create(&w->optimizer, pumit_vit_module(w->vit), config);
    pumit_config_release(config);
    w->bytes = 4 * w->gradients * 7; /* weights and two moments read and written, gradients read */
    return status;
}

static pumit_status call_optimizer_step(work *w)
{
    return pumit_optimizer_step(w->optimizer, 1e-3, 1, NULL);
}

static pumit_status setup_segment_step(work *w)
{
    TRY(make_segmenter(w, true, 4));
    TRY(make_image(w, w->crop->segmented));
    return make_labels(w);
}

static pumit_status call_segment_step(work *w)
{
    pumit_tensor *loss;
    TRY(pumit_segmenter_loss(&loss, w->segmenter, w->image, w->spacing, w->labels));
    return backward_and_forget(loss, pumit_segmenter_module(w->segmenter));
}

/* ----------------------------------------------------------------------------------------------- kinds */

#define MACHINE(function) .plain = true, .batches = {1}, .setup = setup_machine, .call = function

const work_kind work_kinds[] = {
    {"sgemm-openblas-2048", MACHINE(call_openblas)},
    {"sgemm-onednn-2048", MACHINE(call_onednn)},
    {"triad", MACHINE(call_triad)},
    {"tokenize", {1, 4}, .setup = setup_tokenize, .call = call_tokenize},
    {"vit-b-forward", {1, 4}, .setup = setup_forward, .call = call_forward},
    {"vit-b-forward-pair", {1}, .pair = true, .setup = setup_forward, .call = call_forward},
    {"embed", {1}, .cold = true, .setup = setup_embed, .call = call_embed},
    {"embed-first",
     {1},
     .cold = true,
     .once = true,
     .setup = setup_embed_first,
     .call = call_embed_first},
    {"load-vit-b",
     {1},
     .plain = true,
     .cold = true,
     .once = true,
     .setup = setup_load,
     .call = call_load},
    {"tokenizer-step", {1, 4}, .setup = setup_tokenizer_step, .call = call_tokenizer_step},
    {"mim-step-vit-b", {1, 4}, .setup = setup_mim_step, .call = call_mim_step},
    {"mim-step-recompute", {1}, .setup = setup_recompute_step, .call = call_mim_step},
    {"mim-1500-tokens", {1}, .setup = setup_packed, .call = call_packed},
    {"mim-1500-tokens-mixed", {1}, .plain = true, .setup = setup_packed, .call = call_packed},
    {"optimizer-step-vit-b",
     {1},
     .plain = true,
     .setup = setup_optimizer_step,
     .before = mim_gradients,
     .call = call_optimizer_step},
    {"segment-window", {1}, .setup = setup_segment, .call = call_segment},
    {"segment-step", {2}, .setup = setup_segment_step, .call = call_segment_step},
    {0}};

pumit_status work_open(work *w)
{
    if (!w->kind->cold) TRY(open_context(w));
    return w->kind->setup(w);
}

void work_close(work *w)
{
    remove_file(w);
    for (int i = 0; i < w->packed_count; i++) {
        pumit_tensor_release(w->packed[i]);
        pumit_tensor_release(w->packed_visible[i]);
    }
    pumit_tensor_release(w->image);
    pumit_tensor_release(w->visible);
    pumit_tensor_release(w->labels);
    pumit_volume_release(w->volume);
    pumit_optimizer_release(w->optimizer);
    pumit_segmenter_release(w->segmenter);
    pumit_vit_release(w->vit);
    pumit_tokenizer_release(w->tokenizer);
    pumit_context_release(w->ctx);
    machine_free(w->limits);
}
