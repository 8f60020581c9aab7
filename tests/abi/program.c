/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program of an earlier release: it knows the interface as promised, not the headers of today. It makes a small
 * transformer, embeds a volume, and finds the same embedding once the weights went through a file.
 */
#include "interface.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void need(int holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "%s does not hold: %s\n", what, pumit_last_error());
    exit(1);
}
#define NEED(what) need(what, #what)
#define CALL(what) need((what) == PUMIT_OK, #what)

#define DIM 16

static int32_t messages;

static void count_message(void *user, int32_t level, const char *message)
{
    NEED(level == PUMIT_LOG_INFO || level == PUMIT_LOG_WARNING);
    NEED(message != NULL);
    ++*(int32_t *)user;
}

static void embed(double values[DIM], pumit_vit *vit, const pumit_volume *volume)
{
    pumit_tensor *out;
    CALL(pumit_vit_embed(&out, vit, volume));
    NEED(pumit_tensor_dtype(out) == PUMIT_F32 && pumit_tensor_ndim(out) == 2);
    NEED(pumit_tensor_shape(out)[0] == 1 && pumit_tensor_shape(out)[1] == DIM);
    CALL(pumit_tensor_read(out, PUMIT_F64, values, DIM * sizeof values[0]));
    pumit_tensor_release(out);
}

static void compare_after_file(pumit_vit *vit, pumit_context *context, const pumit_volume *volume,
                               const char *path)
{
    double before[DIM], after[DIM], length = 0;
    pumit_vit *again;
    embed(before, vit, volume);
    CALL(pumit_module_save(pumit_vit_module(vit), path, NULL));
    CALL(pumit_vit_load(&again, context, path));
    NEED(pumit_vit_dim(again) == DIM && pumit_vit_channels(again) == 1);
    embed(after, again, volume);
    for (int i = 0; i < DIM; i++) {
        NEED(fabs(before[i] - after[i]) <= 1e-6);
        length += before[i] * before[i];
    }
    NEED(length > 1e-6);
    pumit_vit_release(again);
}

static void check_errors(pumit_context *context)
{
    pumit_vit *none = NULL;
    NEED(pumit_vit_load(&none, context, "/nowhere/model") == PUMIT_ERROR_NOT_FOUND);
    NEED(none == NULL && strstr(pumit_last_error(), "/nowhere/model") != NULL);
    NEED(strcmp(pumit_status_name(PUMIT_ERROR_NOT_FOUND), "PUMIT_ERROR_NOT_FOUND") == 0);
}

int main(int argc, char **argv)
{
    static float voxels[8 * 16 * 16];
    const int64_t size[3] = {8, 16, 16};
    const double affine[16] = {[0] = 1, [5] = 1, [10] = 1, [15] = 1};
    pumit_config *config;
    pumit_context *context;
    pumit_vit *vit;
    pumit_volume *volume;
    NEED(argc == 2);
    NEED(pumit_abi_version() == PUMIT_ABI_VERSION);
    CALL(pumit_config_parse(&config, "{\"in_channels\": 1, \"patch\": [8, 8, 8], \"depth\": 1}"));
    CALL(pumit_config_set_int(config, "dim", DIM));
    CALL(pumit_config_set_int(config, "heads", 1));
    CALL(pumit_config_set_int(config, "hidden", 16));
    CALL(pumit_config_set_string(config, "device", "cpu"));
    CALL(pumit_context_create(&context, config));
    pumit_context_set_log(context, count_message, &messages);
    CALL(pumit_vit_create(&vit, context, config));
    for (int i = 0; i < 8 * 16 * 16; i++) voxels[i] = (float)(i % 61) / 60;
    CALL(pumit_volume_create(&volume, context, PUMIT_F32, size, 1, voxels, affine));
    compare_after_file(vit, context, volume, argv[1]);
    check_errors(context);
    pumit_volume_release(volume);
    pumit_vit_release(vit);
    pumit_context_release(context);
    pumit_config_release(config);
    return 0;
}
