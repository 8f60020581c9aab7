/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Headers are checked here before anything of nifti_clib looks at them; of that library come the layouts, the byte swapping and the
 * quaternions. Its file reading is not used: it prints on errors, chooses by names, and turns NaN into 0.
 */
#include "lib/data/nifti_header.h"

#include "lib/tensor/context.h"

#include <math.h>
#include <nifti2_io.h>
#include <string.h>

/* The fields that matter, of both versions. */
typedef struct {
    int64_t dim[8];
    double pixdim[8], offset, slope, inter;
    int32_t datatype, bitpix, qform, sform, units;
    double quatern[3], origin[3], rows[12];
    bool pair;
    int64_t header_bytes;
} fields;

#define COPY_FIELDS(f, h)                                                                          \
    do {                                                                                           \
        for (int i = 0; i < 8; i++) (f)->dim[i] = (h)->dim[i], (f)->pixdim[i] = (h)->pixdim[i];    \
        (f)->offset = (double)(h)->vox_offset;                                                     \
        (f)->slope = (h)->scl_slope, (f)->inter = (h)->scl_inter;                                  \
        (f)->datatype = (h)->datatype, (f)->bitpix = (h)->bitpix;                                  \
        (f)->qform = (h)->qform_code, (f)->sform = (h)->sform_code;                                \
        (f)->units = (h)->xyzt_units & 7;                                                          \
        (f)->quatern[0] = (h)->quatern_b, (f)->quatern[1] = (h)->quatern_c;                        \
        (f)->quatern[2] = (h)->quatern_d, (f)->origin[0] = (h)->qoffset_x;                         \
        (f)->origin[1] = (h)->qoffset_y, (f)->origin[2] = (h)->qoffset_z;                          \
        for (int i = 0; i < 4; i++) {                                                              \
            (f)->rows[i] = (h)->srow_x[i], (f)->rows[4 + i] = (h)->srow_y[i];                      \
            (f)->rows[8 + i] = (h)->srow_z[i];                                                     \
        }                                                                                          \
    } while (0)

static pumit_status fail_short(const pumit__sniffed *file)
{
    return pumit__fail(PUMIT_ERROR_FORMAT, "%s: is truncated: it ends within its NIfTI header",
                       file->path);
}

static pumit_status read_version_1(fields *f, bool swap, const pumit__sniffed *file)
{
    nifti_1_header header;
    if (file->count < (int64_t)sizeof header) return fail_short(file);
    memcpy(&header, file->head, sizeof header);
    f->pair = memcmp(header.magic, "ni1", 4) == 0;
    if (!f->pair && memcmp(header.magic, "n+1", 4) != 0)
        return pumit__fail(PUMIT_ERROR_UNSUPPORTED,
                           "%s: is ANALYZE 7.5 (or a damaged NIfTI header): it does not say where "
                           "left and right are; convert it to NIfTI",
                           file->path);
    if (swap) nifti_swap_as_nifti1(&header);
    COPY_FIELDS(f, &header);
    f->header_bytes = sizeof header;
    return PUMIT_OK;
}

static pumit_status read_version_2(fields *f, bool swap, const pumit__sniffed *file)
{
    nifti_2_header header;
    if (file->count < (int64_t)sizeof header) return fail_short(file);
    memcpy(&header, file->head, sizeof header);
    f->pair = memcmp(header.magic, "ni2\0\r\n\032\n", 8) == 0;
    if (!f->pair && memcmp(header.magic, "n+2\0\r\n\032\n", 8) != 0)
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: has a damaged NIfTI-2 signature", file->path);
    if (swap) nifti_swap_as_nifti2(&header);
    COPY_FIELDS(f, &header);
    f->header_bytes = sizeof header;
    return PUMIT_OK;
}

/* The header's own size tells version and byte order. */
static pumit_status read_fields(fields *f, bool *swap, const pumit__sniffed *file)
{
    uint32_t bytes;
    memcpy(&bytes, file->head, sizeof bytes);
    *swap = bytes != sizeof(nifti_1_header) && bytes != sizeof(nifti_2_header);
    if (*swap) bytes = __builtin_bswap32(bytes);
    return bytes == sizeof(nifti_2_header) ? read_version_2(f, *swap, file)
                                           : read_version_1(f, *swap, file);
}

/* ------------------------------------------------------------------------------------------ voxels */

static pumit_status choose_type(pumit__nifti_header *out, const fields *f, const char *path)
{
    static const struct {
        int32_t datatype;
        pumit__element kind;
        int64_t stored, channels;
    } types[] = {{DT_UINT8, PUMIT__ELEMENT_U8, 1, 1},    {DT_INT8, PUMIT__ELEMENT_I8, 1, 1},
                 {DT_UINT16, PUMIT__ELEMENT_U16, 1, 1},  {DT_INT16, PUMIT__ELEMENT_I16, 1, 1},
                 {DT_UINT32, PUMIT__ELEMENT_U32, 1, 1},  {DT_INT32, PUMIT__ELEMENT_I32, 1, 1},
                 {DT_UINT64, PUMIT__ELEMENT_U64, 1, 1},  {DT_INT64, PUMIT__ELEMENT_I64, 1, 1},
                 {DT_FLOAT32, PUMIT__ELEMENT_F32, 1, 1}, {DT_FLOAT64, PUMIT__ELEMENT_F64, 1, 1},
                 {DT_RGB24, PUMIT__ELEMENT_U8, 3, 3},    {DT_RGBA32, PUMIT__ELEMENT_U8, 4, 3}};
    for (int64_t i = 0; i < PUMIT__COUNT(types); i++) {
        if (types[i].datatype != f->datatype) continue;
        out->kind = types[i].kind;
        out->stored = types[i].stored;
        out->channels = types[i].channels;
        if (f->bitpix != 8 * pumit__element_size(out->kind) * out->stored)
            return pumit__fail(PUMIT_ERROR_FORMAT,
                               "%s: its header contradicts itself: %d bits a voxel for data type "
                               "%d",
                               path, (int)f->bitpix, (int)f->datatype);
        return PUMIT_OK;
    }
    switch (f->datatype) {
    case DT_COMPLEX64:
    case DT_COMPLEX128:
    case DT_COMPLEX256:
        return pumit__fail(PUMIT_ERROR_UNSUPPORTED,
                           "%s: has complex voxels; save the magnitude as its own image", path);
    case DT_FLOAT128:
    case DT_BINARY:
        return pumit__fail(PUMIT_ERROR_UNSUPPORTED,
                           "%s: has voxels of data type %d; save it as 32-bit float", path,
                           (int)f->datatype);
    default:
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: has the unknown data type %d", path,
                           (int)f->datatype);
    }
}

static void choose_scaling(pumit__nifti_header *out, const fields *f)
{
    /* A slope of 0 means that there is no scaling; colours have none by definition. */
    const bool scaled = isfinite(f->slope) && isfinite(f->inter) && f->slope != 0 &&
                        out->channels == 1 && (f->slope != 1 || f->inter != 0);
    out->slope = scaled ? f->slope : 1;
    out->inter = scaled ? f->inter : 0;
    out->eight_bit = out->kind == PUMIT__ELEMENT_U8 && !scaled;
}

static pumit_status choose_size(pumit__nifti_header *out, const fields *f, const pumit_context *ctx,
                                const char *path)
{
    if (!(f->dim[0] >= 1 && f->dim[0] <= 7))
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: claims %lld dimensions, not 1 to 7", path,
                           (long long)f->dim[0]);
    int64_t dim[8];
    for (int i = 1; i <= 7; i++) {
        dim[i] = i <= f->dim[0] ? f->dim[i] : 1;
        if (!(dim[i] >= 1))
            return pumit__fail(PUMIT_ERROR_FORMAT, "%s: claims size %lld along dimension %d", path,
                               (long long)dim[i], i);
    }
    memcpy(out->size, dim + 1, sizeof out->size);
    int64_t all;
    PUMIT__TRY(pumit__check_voxels(&all, ctx, out->size, out->channels, path));
    out->voxels = all / out->channels;
    out->volume_bytes = out->voxels * out->stored * pumit__element_size(out->kind);
    out->volumes = 1;
    bool fits = true;
    for (int i = 4; i <= 7; i++)
        fits = fits && pumit__multiply(&out->volumes, out->volumes, dim[i]);
    if (!fits || !pumit__multiply(&all, out->volumes, out->volume_bytes) ||
        !pumit__add_sizes(&all, all, INT64_C(1) << 53))
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: claims an absurd number of volumes", path);
    return PUMIT_OK;
}

static pumit_status choose_offset(pumit__nifti_header *out, const fields *f, const char *path)
{
    const double least = f->pair ? 0 : (double)f->header_bytes;
    if (!(f->offset >= least && f->offset < 0x1p52) || f->offset != floor(f->offset))
        return pumit__fail(PUMIT_ERROR_FORMAT, "%s: claims that its voxels begin at byte %g", path,
                           f->offset);
    out->offset = (int64_t)f->offset;
    out->pair = f->pair;
    return PUMIT_OK;
}

/* ---------------------------------------------------------------------------------------- geometry */

/* Grid spacings that can be used: what cannot be is mended, with a warning where it matters. True if one was made up. */
static bool mend_spacing(double spacing[3], const fields *f, const pumit__nifti_header *header,
                         const pumit_context *ctx, const char *path)
{
    bool guessed = false;
    for (int i = 0; i < 3; i++) {
        const double stored = f->pixdim[i + 1];
        const bool usable = isfinite(stored) && fabs(stored) > 1e-9 && fabs(stored) < 1e9;
        spacing[i] = usable ? fabs(stored) : 1;
        guessed = guessed || (header->size[i] > 1 && !usable);
        if (header->size[i] > 1 && !(usable && stored > 0))
            pumit__log(ctx, PUMIT_LOG_WARNING, "%s: spacing %g along axis %d taken as %g mm", path,
                       stored, i, spacing[i]);
    }
    return guessed;
}

/* A single slice may come without a step to the next: across the other two then. */
static void mend_single_slice(double a[16], const int64_t size[3])
{
    for (int i = 0; i < 3; i++) {
        double step[3];
        pumit__affine_spacing(step, a);
        if (size[i] != 1 || step[i] > 1e-9) continue;
        const int j = (i + 1) % 3, k = (i + 2) % 3;
        const double area = step[j] * step[k];
        for (int r = 0; r < 3; r++) {
            const int s = (r + 1) % 3, t = (r + 2) % 3;
            a[4 * r + i] = (a[4 * s + j] * a[4 * t + k] - a[4 * t + j] * a[4 * s + k]) / area;
        }
    }
}

static void affine_of_sform(double affine[16], const fields *f)
{
    memcpy(affine, f->rows, sizeof f->rows);
}

static void affine_of_qform(double affine[16], const fields *f, const double spacing[3])
{
    const nifti_dmat44 q = nifti_quatern_to_dmat44(
        f->quatern[0], f->quatern[1], f->quatern[2], f->origin[0], f->origin[1], f->origin[2],
        spacing[0], spacing[1], spacing[2], f->pixdim[0] < 0 ? -1 : 1);
    for (int i = 0; i < 12; i++) affine[i] = q.m[i / 4][i % 4];
}

static void affine_of_spacing(double affine[16], const double spacing[3])
{
    for (int i = 0; i < 12; i++) affine[i] = i % 5 == 0 ? spacing[i / 5] : 0;
}

static bool mended_is_good(double affine[16], const int64_t size[3])
{
    mend_single_slice(affine, size);
    return pumit__affine_is_good(affine);
}

/* Before anything is judged: metres of a number that is just finite are not. */
static fields in_mm(const fields *f)
{
    fields mm = *f;
    const double scale = f->units == NIFTI_UNITS_METER    ? 1000
                         : f->units == NIFTI_UNITS_MICRON ? 0.001
                                                          : 1;
    for (int i = 1; i <= 3; i++) mm.pixdim[i] *= scale;
    for (int i = 0; i < 3; i++) mm.origin[i] *= scale;
    for (int i = 0; i < 12; i++) mm.rows[i] *= scale;
    return mm;
}

/* The sform if there is one, else the qform, else the spacing; one that is singular is passed over. */
static void choose_affine(pumit__nifti_header *out, const fields *stored, const pumit_context *ctx,
                          const char *path)
{
    double spacing[3];
    const fields mm = in_mm(stored), *const f = &mm;
    const bool guessed = mend_spacing(spacing, f, out, ctx, path);
    out->affine[12] = out->affine[13] = out->affine[14] = 0;
    out->affine[15] = 1;
    bool good = false;
    if (f->sform > 0) {
        affine_of_sform(out->affine, f);
        good = mended_is_good(out->affine, out->size);
    }
    out->guessed = !good && guessed;
    if (!good && f->qform > 0) {
        affine_of_qform(out->affine, f, spacing);
        good = mended_is_good(out->affine, out->size);
    }
    if (!good) affine_of_spacing(out->affine, spacing);
    if (!good && (f->sform > 0 || f->qform > 0)) {
        out->guessed = true;
        pumit__log(ctx, PUMIT_LOG_WARNING,
                   "%s: its affine is singular or not finite; the spacings are used instead, its "
                   "orientation is unknown",
                   path);
    }
}

static void keep_grid(pumit__nifti_grid *grid, const fields *f)
{
    grid->version = f->header_bytes == (int64_t)sizeof(nifti_2_header) ? 2 : 1;
    grid->dimensions = f->dim[0] < 3 ? (int32_t)f->dim[0] : 3;
    grid->qform = f->qform;
    grid->sform = f->sform;
    grid->units = f->units;
    memcpy(grid->pixdim, f->pixdim, sizeof grid->pixdim);
    memcpy(grid->quatern, f->quatern, sizeof grid->quatern);
    memcpy(grid->origin, f->origin, sizeof grid->origin);
    memcpy(grid->rows, f->rows, sizeof grid->rows);
}

pumit_status pumit__nifti_header_parse(pumit__nifti_header *out, const pumit_context *ctx,
                                       const pumit__sniffed *file)
{
    fields f = {0};
    *out = (pumit__nifti_header){0};
    PUMIT__TRY(read_fields(&f, &out->swap, file));
    PUMIT__TRY(choose_type(out, &f, file->path));
    PUMIT__TRY(choose_size(out, &f, ctx, file->path));
    PUMIT__TRY(choose_offset(out, &f, file->path));
    choose_scaling(out, &f);
    choose_affine(out, &f, ctx, file->path);
    keep_grid(&out->grid, &f);
    return PUMIT_OK;
}
