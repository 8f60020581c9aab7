/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/common/describe.h"

#include <math.h>
#include <string.h>

static int64_t most_tokens(pumit_vit *model)
{
    pumit_config *config;
    int64_t most = 0;
    if (!model || pumit_module_config(&config, pumit_vit_module(model)) != PUMIT_OK) return 0;
    (void)pumit_config_get_int(&most, config, "max_tokens", 2048);
    pumit_config_release(config);
    return most;
}

pumit_status cli_tokens(int64_t *count, int64_t grid[3], cli *c, const pumit_volume *image,
                        pumit_vit *model)
{
    static const int64_t CUBE[3] = {16, 16, 16};
    const int64_t *const patch = model ? pumit_vit_patch(model) : CUBE;
    const int32_t da = pumit_volume_anisotropy(image);
    const int64_t depth = patch[0] >> da > 0 ? patch[0] >> da : 1;
    pumit_tensor *tensor;
    double spacing[3];
    int64_t shape[4];
    pumit_volume_shape(image, shape);
    const pumit_status status = pumit_volume_to_patches(&tensor, spacing, image, c->ctx, shape[3],
                                                        patch, most_tokens(model));
    if (status != PUMIT_OK) return status;
    const int64_t *const size = pumit_tensor_shape(tensor);
    const int64_t tokens[3] = {size[1] / depth, size[2] / patch[1], size[3] / patch[2]};
    *count = tokens[0] * tokens[1] * tokens[2];
    if (grid) memcpy(grid, tokens, sizeof tokens);
    pumit_tensor_release(tensor);
    return PUMIT_OK;
}

cJSON *cli_spacing_json(const double spacing[3])
{
    cJSON *array = cJSON_CreateArray();
    for (int i = 0; i < 3; i++)
        cJSON_AddItemToArray(array, isfinite(spacing[i]) ? cJSON_CreateNumber(spacing[i])
                                                         : cJSON_CreateNull());
    return array;
}

void cli_print_field(FILE *out, const char *text)
{
    if (!strpbrk(text, ",\"\n")) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}
