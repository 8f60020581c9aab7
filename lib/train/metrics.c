/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/train/metrics.h"
#include "lib/train/trainer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The line is whole JSON of a step up to `step`. */
static bool keeps(const char *line, int64_t bytes, int64_t step)
{
    cJSON *tree = cJSON_ParseWithLength(line, (size_t)bytes);
    int64_t of;
    const bool keep =
        pumit__json_int(&of, cJSON_GetObjectItemCaseSensitive(tree, "step")) && of <= step;
    cJSON_Delete(tree);
    return keep;
}

/* Bytes of the leading lines that stay; -1 on a read error. */
static int64_t kept_bytes(FILE *file, int64_t step)
{
    char *line = NULL;
    size_t capacity = 0;
    int64_t kept = 0;
    ssize_t got;
    while ((got = getline(&line, &capacity, file)) > 0) {
        if (line[got - 1] != '\n' || !keeps(line, (int64_t)got, step)) break;
        kept += (int64_t)got;
    }
    free(line);
    return ferror(file) ? -1 : kept;
}

pumit_status pumit__metrics_open(FILE **out, const char *path, int64_t step)
{
    FILE *file = fopen(path, "a+e");
    if (file) {
        rewind(file);
        const int64_t kept = kept_bytes(file, step);
        if (kept >= 0 && ftruncate(fileno(file), (off_t)kept) == 0 &&
            fseek(file, 0, SEEK_END) == 0) {
            *out = file;
            return PUMIT_OK;
        }
    }
    const int kept_errno = errno;
    if (file) fclose(file);
    return pumit__fail(kept_errno == ENOMEM ? PUMIT_ERROR_OUT_OF_MEMORY : PUMIT_ERROR_IO,
                       "%s: cannot write: %s", path, strerror(kept_errno));
}

pumit_status pumit__metrics_write(FILE *file, const char *folder, const char *line)
{
    if (fprintf(file, "%s\n", line) > 0 && fflush(file) == 0) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_IO, "%s/metrics.jsonl: cannot write: %s", folder,
                       strerror(errno));
}

/* ----------------------------------------------------------------------------------------- figures */

/* Where the figure is, or would come. */
static int32_t find(const pumit__figures *figures, const char *name)
{
    int32_t i = 0;
    while (i < figures->count && strcmp(figures->name[i], name) != 0) i++;
    return i;
}

void pumit__figures_add(pumit__figures *figures, const char *name, double value)
{
    const int32_t i = find(figures, name);
    if (i == PUMIT__MOST_FIGURES) return;
    if (i == figures->count) {
        figures->name[figures->count++] = name;
        figures->length[i] = 0;
        figures->value[i] = 0;
    }
    figures->value[i] += value;
}

void pumit__figures_list(pumit__figures *figures, const char *name, const double *values,
                         int32_t count)
{
    const int32_t i = find(figures, name);
    if (i == PUMIT__MOST_FIGURES) return;
    if (i == figures->count) {
        if (count < 1 || count > PUMIT__MOST_LISTED - figures->listed_count) return;
        figures->name[figures->count++] = name;
        figures->length[i] = count;
        figures->start[i] = figures->listed_count;
        memset(figures->listed + figures->listed_count, 0, (size_t)count * sizeof *values);
        figures->listed_count += count;
    }
    for (int32_t k = 0; k < count && k < figures->length[i]; k++)
        figures->listed[figures->start[i] + k] += values[k];
}

void pumit__figures_append(pumit__figures *dst, const pumit__figures *src)
{
    for (int32_t i = 0; i < src->count; i++) {
        if (src->length[i] > 0)
            pumit__figures_list(dst, src->name[i], src->listed + src->start[i], src->length[i]);
        else
            pumit__figures_add(dst, src->name[i], src->value[i]);
    }
}

double pumit__figures_get(const pumit__figures *figures, const char *name)
{
    const int32_t i = find(figures, name);
    return i < figures->count && figures->length[i] == 0 ? figures->value[i] : NAN;
}

/* NULL when out of memory. */
static cJSON *figure_json(const pumit__figures *figures, int32_t i)
{
    if (figures->length[i] == 0) return pumit__json_number(figures->value[i]);
    cJSON *array = cJSON_CreateArray();
    for (int32_t k = 0; array && k < figures->length[i]; k++) {
        cJSON *number = pumit__json_number(figures->listed[figures->start[i] + k]);
        if (cJSON_AddItemToArray(array, number)) continue;
        cJSON_Delete(number);
        cJSON_Delete(array);
        array = NULL;
    }
    return array;
}

pumit_status pumit__figures_json(cJSON **out, const pumit__figures *figures)
{
    *out = NULL;
    cJSON *object = cJSON_CreateObject();
    if (!object) return pumit__fail_memory((int64_t)sizeof *object, "figures");
    for (int32_t i = 0; i < figures->count; i++) {
        const pumit_status status =
            pumit__json_set(object, figures->name[i], figure_json(figures, i));
        if (status == PUMIT_OK) continue;
        cJSON_Delete(object);
        return status;
    }
    *out = object;
    return PUMIT_OK;
}
