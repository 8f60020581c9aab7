/* SPDX-License-Identifier: Apache-2.0 */
/* What a model file holds, in a few numbers: a checksum of all weights, and how a tokenizer's codes lie. */
#include "lib/nn/module.h"
#include "lib/tensor/weights_file.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define PIECE (INT64_C(1) << 30) /* zlib counts bytes in 32 bits */

static uLong add_bytes(uLong crc, const char *bytes, int64_t count)
{
    for (int64_t i = 0; i < count; i += PIECE)
        crc = crc32(crc, (const Bytef *)bytes + i, (uInt)(count - i < PIECE ? count - i : PIECE));
    return crc;
}

/* CRC-32 of names and values in the file's order. */
static pumit_status add_checksum(pumit_config *out, pumit__weights_file *file)
{
    char text[32];
    uLong crc = crc32(0, NULL, 0);
    for (int64_t i = 0; i < pumit__weights_file_count(file); i++) {
        const pumit__weights_entry *entry = pumit__weights_file_entry(file, i);
        const void *data;
        crc = add_bytes(crc, entry->name, (int64_t)strlen(entry->name));
        if (!entry->dtype) continue;
        PUMIT__TRY(pumit__weights_file_data(&data, file, entry));
        crc = add_bytes(crc, data, entry->bytes);
        pumit__weights_file_forget(file, entry);
    }
    snprintf(text, sizeof text, "crc32:%08lx", crc);
    return pumit_config_set_string(out, "checksum", text);
}

/* Distance from each code to the nearest other one, and lengths: means and extremes. */
static pumit_status describe_codes(pumit_config *out, const float *code, int64_t codes, int64_t dim)
{
    double length = 0, least = DBL_MAX, most = 0, nearest = 0, closest = DBL_MAX;
    for (int64_t i = 0; i < codes; i++) {
        double own = 0, near = DBL_MAX;
        for (int64_t d = 0; d < dim; d++)
            own += (double)code[i * dim + d] * (double)code[i * dim + d];
        for (int64_t j = 0; j < codes; j++) {
            double distance = 0;
            for (int64_t d = 0; d < dim && distance < near; d++) {
                const double x = (double)code[i * dim + d] - (double)code[j * dim + d];
                distance += x * x;
            }
            if (j != i && distance < near) near = distance;
        }
        length += sqrt(own) / (double)codes;
        nearest += sqrt(near) / (double)codes;
        least = fmin(least, sqrt(own));
        most = fmax(most, sqrt(own));
        closest = fmin(closest, sqrt(near));
    }
    const struct {
        const char *key;
        double value;
    } figures[] = {{"codebook.codes", (double)codes},  {"codebook.dim", (double)dim},
                   {"codebook.mean_length", length},   {"codebook.least_length", least},
                   {"codebook.most_length", most},     {"codebook.mean_nearest", nearest},
                   {"codebook.least_nearest", closest}};
    for (int64_t i = 0; i < PUMIT__COUNT(figures); i++)
        if (isfinite(figures[i].value) && figures[i].value < DBL_MAX)
            PUMIT__TRY(pumit_config_set_double(out, figures[i].key, figures[i].value));
    return PUMIT_OK;
}

static pumit_status add_codebook(pumit_config *out, pumit__weights_file *file)
{
    const pumit__weights_entry *entry = pumit__weights_file_find(file, "quantize.embedding.weight");
    const void *data;
    if (!entry || entry->ndim != 2 || entry->dtype != PUMIT_F32) return PUMIT_OK;
    const int64_t codes = entry->shape[0], dim = entry->shape[1];
    if (codes < 1 || codes > 1 << 16 || dim < 1 || entry->stride[1] != 1 || entry->stride[0] != dim)
        return PUMIT_OK;
    PUMIT__TRY(pumit__weights_file_data(&data, file, entry));
    float *aligned = pumit__calloc(codes * dim, sizeof *aligned);
    if (!aligned) return pumit__fail_memory(codes * dim * (int64_t)sizeof *aligned, "a codebook");
    memcpy(aligned, data, (size_t)(codes * dim) * sizeof *aligned);
    const pumit_status status = describe_codes(out, aligned, codes, dim);
    free(aligned);
    return status;
}

pumit_status pumit_model_file_digest(pumit_config **out, const char *path)
{
    PUMIT__REQUIRE(out && path, "pumit_model_file_digest: an argument is NULL");
    *out = NULL;
    pumit__weights_file *file;
    PUMIT__TRY(pumit__weights_file_open(&file, path));
    pumit_status status = pumit_config_create(out);
    if (status == PUMIT_OK) status = add_checksum(*out, file);
    if (status == PUMIT_OK) status = add_codebook(*out, file);
    pumit__weights_file_close(file);
    if (status != PUMIT_OK) {
        pumit_config_release(*out);
        *out = NULL;
    }
    return status;
}
