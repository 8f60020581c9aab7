/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of written NIfTI files, and label maps as such files or PNG. Layouts are those of nifti_clib; numbers are of this machine's order. */
#include "lib/data/nifti_write.h"

#include <errno.h>
#include <math.h>
#include <nifti2_io.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define MOST_SIZE_1 32767 /* along an axis, in NIfTI-1 */

pumit__stored_grid pumit__stored_grid_of(const pumit_label_map *map)
{
    pumit__stored_grid grid;
    for (int32_t x = 0; x < 3; x++) {
        const int32_t a = map->axes[x];
        grid.size[a] = map->shape[x];
        grid.axis[a] = x;
        grid.low[a] = map->flips[x] ? map->shape[x] - 1 : 0;
        grid.direction[a] = map->flips[x] ? -1 : 1;
    }
    return grid;
}

/* ------------------------------------------------------------------------------------------- headers */

/* What the source's header says; of an image without one, its affine as sform. */
static pumit__nifti_grid describe(const pumit_label_map *map)
{
    if (map->source.version) return map->source;
    pumit__nifti_grid grid = {
        .version = 1, .dimensions = 3, .sform = NIFTI_XFORM_ALIGNED_ANAT, .units = NIFTI_UNITS_MM};
    double affine[16], spacing[3];
    memcpy(affine, map->affine, sizeof affine);
    for (int i = 0; i < 3; i++)
        if (map->flips[i]) pumit__affine_flip(affine, i, map->shape[i]);
    const pumit__stored_grid stored = pumit__stored_grid_of(map);
    double turned[16];
    pumit__affine_reorder(turned, affine, stored.axis);
    pumit__affine_spacing(spacing, turned);
    grid.pixdim[0] = 1;
    memcpy(grid.pixdim + 1, spacing, sizeof spacing);
    memcpy(grid.rows, turned, sizeof grid.rows);
    return grid;
}

#define FILL_HEADER(h, g, sizes, classes)                                                          \
    do {                                                                                           \
        (h)->dim[0] = (classes) ? 4 : (g)->dimensions;                                             \
        for (int i = 1; i < 8; i++) (h)->dim[i] = 1, (h)->pixdim[i] = 1;                           \
        for (int i = 0; i < 3; i++) (h)->dim[i + 1] = (sizes)[i];                                  \
        if (classes) (h)->dim[4] = (classes);                                                      \
        for (int i = 0; i < 4; i++) (h)->pixdim[i] = (g)->pixdim[i];                               \
        (h)->datatype = (classes) ? DT_FLOAT32 : DT_UINT8;                                         \
        (h)->bitpix = (classes) ? 32 : 8;                                                          \
        (h)->intent_code = (classes) ? NIFTI_INTENT_NONE : NIFTI_INTENT_LABEL;                     \
        (h)->scl_slope = 1;                                                                        \
        (h)->xyzt_units = (g)->units;                                                              \
        (h)->qform_code = (g)->qform, (h)->sform_code = (g)->sform;                                \
        (h)->quatern_b = (g)->quatern[0], (h)->quatern_c = (g)->quatern[1];                        \
        (h)->quatern_d = (g)->quatern[2], (h)->qoffset_x = (g)->origin[0];                         \
        (h)->qoffset_y = (g)->origin[1], (h)->qoffset_z = (g)->origin[2];                          \
        for (int i = 0; i < 4; i++) {                                                              \
            (h)->srow_x[i] = (g)->rows[i], (h)->srow_y[i] = (g)->rows[4 + i];                      \
            (h)->srow_z[i] = (g)->rows[8 + i];                                                     \
        }                                                                                          \
    } while (0)

static void fill_version_1(nifti_1_header *h, const pumit__nifti_grid *g, const int64_t size[3],
                           int64_t classes, int64_t offset)
{
    short sizes[3];
    for (int i = 0; i < 3; i++) sizes[i] = (short)size[i];
    FILL_HEADER(h, g, sizes, (short)classes);
    h->sizeof_hdr = sizeof *h;
    h->vox_offset = (float)offset;
    memcpy(h->magic, "n+1", 4);
}

static void fill_version_2(nifti_2_header *h, const pumit__nifti_grid *g, const int64_t size[3],
                           int64_t classes, int64_t offset)
{
    FILL_HEADER(h, g, size, classes);
    h->sizeof_hdr = sizeof *h;
    h->vox_offset = offset;
    memcpy(h->magic, "n+2\0\r\n\032\n", 8);
}

/* {"labels": {"0": "background", ...}}, as dataset.json has it; NULL where there are no names. */
static pumit_status names_text(char **out, const pumit_config *options)
{
    *out = NULL;
    const cJSON *const names =
        cJSON_GetObjectItemCaseSensitive(pumit__config_json(options), "class_names");
    if (!names || cJSON_IsNull(names)) return PUMIT_OK;
    cJSON *root = cJSON_CreateObject(), *labels = cJSON_AddObjectToObject(root, "labels");
    int number = 0;
    pumit_status status = PUMIT_OK;
    PUMIT__GO(labels ? PUMIT_OK : pumit__fail_memory(64, "class names"));
    for (const cJSON *name = names->child; name; name = name->next, number++) {
        char key[16];
        snprintf(key, sizeof key, "%d", number);
        if (!cJSON_IsArray(names) || !cJSON_IsString(name)) break;
        if (!cJSON_AddStringToObject(labels, key, name->valuestring))
            PUMIT__GO(pumit__fail_memory(64, "class names"));
    }
    if (!cJSON_IsArray(names) || number < cJSON_GetArraySize(names))
        PUMIT__GO(pumit__fail(PUMIT_ERROR_INVALID_ARGUMENT,
                              "\"class_names\" is a list of texts, the background's first"));
    status = pumit__json_print(out, root, false);
out:
    cJSON_Delete(root);
    return status;
}

/* Behind the header: four bytes that tell of an extension; its size, a multiple of 16; its kind; its text. */
static void place_extension(uint8_t *at, const char *text, int64_t bytes)
{
    const int32_t words[2] = {(int32_t)bytes, NIFTI_ECODE_COMMENT};
    at[0] = 1;
    memcpy(at + 4, words, sizeof words);
    memcpy(at + 4 + sizeof words, text, strlen(text));
}

pumit_status pumit__nifti_head(uint8_t **out, int64_t *bytes, const pumit_label_map *map,
                               int64_t classes, const pumit_config *options)
{
    const pumit__nifti_grid grid = describe(map);
    const pumit__stored_grid stored = pumit__stored_grid_of(map);
    bool small = grid.version == 1 && classes <= MOST_SIZE_1;
    for (int i = 0; i < 3; i++) small = small && stored.size[i] <= MOST_SIZE_1;
    char *text;
    PUMIT__TRY(names_text(&text, options));
    const int64_t header =
        small ? (int64_t)sizeof(nifti_1_header) : (int64_t)sizeof(nifti_2_header);
    const int64_t extension = text ? ((int64_t)strlen(text) + 8 + 15) / 16 * 16 : 0;
    *bytes = header + 4 + extension;
    *out = pumit__calloc(*bytes, 1);
    if (!*out) {
        free(text);
        return pumit__fail_memory(*bytes, "a NIfTI header");
    }
    if (small)
        fill_version_1((nifti_1_header *)*out, &grid, stored.size, classes, *bytes);
    else
        fill_version_2((nifti_2_header *)*out, &grid, stored.size, classes, *bytes);
    if (text) place_extension(*out + header, text, extension);
    free(text);
    return PUMIT_OK;
}

/* ---------------------------------------------------------------------------------------- label maps */

/* A file, through gzip or not. */
typedef struct {
    pumit__atomic_file file;
    gzFile gzip;
} sink;

static pumit_status open_sink(sink *s, const char *path)
{
    PUMIT__TRY(pumit__atomic_open(&s->file, path));
    if (!pumit__ends_with(path, ".gz")) return PUMIT_OK;
    const int copy = dup(fileno(s->file.file));
    s->gzip = copy >= 0 ? gzdopen(copy, "wb6") : NULL;
    if (s->gzip) return PUMIT_OK;
    if (copy >= 0) close(copy);
    return pumit__fail(PUMIT_ERROR_IO, "%s: cannot compress: %s", path, strerror(errno));
}

static pumit_status put(sink *s, const void *data, int64_t bytes)
{
    if (!s->gzip) return pumit__atomic_write(&s->file, data, bytes);
    if (gzwrite(s->gzip, data, (unsigned)bytes) == (int)bytes) return PUMIT_OK;
    return pumit__fail(PUMIT_ERROR_IO, "%s: cannot write: %s", s->file.path, strerror(errno));
}

static pumit_status commit_sink(sink *s)
{
    const gzFile gzip = s->gzip;
    s->gzip = NULL;
    if (gzip && gzclose(gzip) != Z_OK)
        return pumit__fail(PUMIT_ERROR_IO, "%s: cannot write: %s", s->file.path, strerror(errno));
    return pumit__atomic_commit(&s->file);
}

static void close_sink(sink *s)
{
    if (s->gzip) gzclose(s->gzip);
    pumit__atomic_close(&s->file);
}

static pumit_status put_voxels(sink *s, const pumit_label_map *map)
{
    const pumit__stored_grid g = pumit__stored_grid_of(map);
    const int64_t stride[3] = {map->shape[1] * map->shape[2], map->shape[2], 1};
    int64_t step[3], first = 0;
    for (int a = 0; a < 3; a++) {
        step[a] = stride[g.axis[a]] * g.direction[a];
        first += stride[g.axis[a]] * g.low[a];
    }
    uint8_t *plane = pumit__calloc(g.size[0], g.size[1]);
    if (!plane) return pumit__fail_memory(g.size[0] * g.size[1], "a plane of labels");
    pumit_status status = PUMIT_OK;
    for (int64_t k = 0; k < g.size[2] && status == PUMIT_OK; k++) {
        uint8_t *to = plane;
        for (int64_t j = 0; j < g.size[1]; j++) {
            const uint8_t *from = map->labels + first + k * step[2] + j * step[1];
            for (int64_t i = 0; i < g.size[0]; i++, from += step[0]) *to++ = *from;
        }
        for (int64_t j = 0; j < g.size[1] && status == PUMIT_OK; j++)
            status = put(s, plane + j * g.size[0], g.size[0]);
    }
    free(plane);
    return status;
}

static pumit_status write_nifti(const pumit_label_map *map, const char *path,
                                const pumit_config *options)
{
    sink s = {0};
    uint8_t *head = NULL;
    int64_t bytes;
    pumit_status status;
    PUMIT__GO(pumit__nifti_head(&head, &bytes, map, 0, options));
    PUMIT__GO(open_sink(&s, path));
    PUMIT__GO(put(&s, head, bytes));
    PUMIT__GO(put_voxels(&s, map));
    PUMIT__GO(commit_sink(&s));
out:
    close_sink(&s);
    free(head);
    return status;
}

pumit_status pumit_label_map_write(const pumit_label_map *map, const char *path,
                                   const pumit_config *options)
{
    PUMIT__REQUIRE(map && path, "pumit_label_map_write: an argument is NULL");
    if (pumit__ends_with(path, ".nii") || pumit__ends_with(path, ".nii.gz"))
        return write_nifti(map, path, options);
    PUMIT__REQUIRE(pumit__ends_with(path, ".png"),
                   "%s: label maps are written as .nii.gz, .nii or, of pictures, .png", path);
    PUMIT__REQUIRE(map->shape[0] == 1 && map->source.version == 0,
                   "%s: only a picture's label map becomes PNG; name this one .nii.gz", path);
    const int64_t size[3] = {map->shape[1], map->shape[2], 1};
    return pumit__png_write(path, map->labels, size);
}
