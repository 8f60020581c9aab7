/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a volume, its geometry, its intensities, and the file readers that make volumes. */
#ifndef PUMIT_LIB_DATA_VOLUME_H
#define PUMIT_LIB_DATA_VOLUME_H

#include "lib/data/element.h"

#include <pumit/volume.h>

#include <stdatomic.h>

#define PUMIT__MOST_ANISOTROPY 5

/* What a NIfTI header says of its grid, number by number: what is made for the image lies as exactly where the image does. */
typedef struct {
    int32_t version;             /* of the format, 1 or 2; 0: the image is from no such file */
    int32_t dimensions;          /* of the image, as counted in the header; 3 for more */
    int32_t qform, sform, units; /* codes; units: of space */
    double pixdim[4];            /* the first is the qform's handedness */
    double quatern[3], origin[3], rows[12];
} pumit__nifti_grid;

struct pumit_volume {
    _Atomic int64_t refs;
    int64_t shape[4];   /* D H W C */
    double spacing[3];  /* mm; the first is INFINITY for 2D */
    double affine[16];  /* (d, h, w, 1) to world RAS mm */
    int32_t anisotropy; /* of the spacing */
    int32_t axes[3];    /* the source's numbers of D, H, W */
    bool flips[3];      /* D, H, W run against those */
    bool guessed; /* the file's geometry cannot be used: a spacing or the orientation is made up */
    bool normalised; /* voxels are intensities in [0, 1] already */
    bool eight_bit;  /* values lie in 0..255 by their type: divided by 255, not stretched */
    char modality[16];
    pumit__nifti_grid source;
    float *voxels; /* (D, H, W, C); NULL where they are in `file` */

    /* A prepared image: voxels stay in a .npy of float16 (C, D, H, W) in [0, 1], and are read as they are asked for. */
    char *file;
    int64_t file_offset;      /* of the first voxel, in bytes */
    _Atomic(float *) decoded; /* for pumit_volume_voxels() */
};

/* What a reader hands over: voxels in the file's order of axes, slowest first, which becomes that of the body's axes. */
typedef struct {
    float *voxels; /* (size[0], size[1], size[2], channels) */
    int64_t size[3], channels;
    double affine[16];       /* from the indices along those three axes; unused if `flat` */
    int32_t axes[3];         /* the source's numbers of the three axes */
    bool flat;               /* no geometry: spacing {INFINITY, 1, 1}, size[0] is 1 */
    bool eight_bit, guessed; /* as in a volume */
    pumit__nifti_grid source;
} pumit__image;

/* A volume of `image`, whose voxels it takes on success (image->voxels becomes NULL). The affine must be good. */
pumit_status pumit__volume_adopt(pumit_volume **out, pumit__image *image);
pumit_volume *pumit__volume_retain(pumit_volume *volume);

/* Sizes of an image, all at least 1, against the context's limit; `count` receives their product. */
pumit_status pumit__check_voxels(int64_t *count, const pumit_context *ctx, const int64_t size[3],
                                 int64_t channels, const char *name);
/* That `count` values, 4 bytes each as they are kept, come from a file of so many bytes; a bomb does not. */
pumit_status pumit__check_ratio(int64_t count, const pumit_context *ctx, int64_t file_bytes,
                                const char *name);

/* --------------------------------------------------------------------------------------- geometry */

/* Lengths of the affine's three columns. */
void pumit__affine_spacing(double spacing[3], const double affine[16]);

/* True if it lies within 10^9 mm, and neither a column nor the whole is degenerate. */
bool pumit__affine_is_good(const double affine[16]);

/* The axis that becomes D: of size 1 if there is one, else by spacing; then nearest to superior-inferior. */
int32_t pumit__slice_axis(const double affine[16], const int64_t size[3]);

/* How an image is turned to lie as all others do: D is axis order[0], and so on, each in the direction flip[] tells. */
void pumit__body_axes(int32_t order[3], bool flip[3], const double affine[16],
                      const int64_t size[3]);

/* `dst` maps indices whose axis i is the axis order[i] of `src`. */
void pumit__affine_reorder(double dst[16], const double src[16], const int32_t order[3]);
/* `affine` then counts axis `axis` of `size` voxels from its other end. */
void pumit__affine_flip(double affine[16], int axis, int64_t size);

/* Slices are less than twice as thick as pixels are wide; never true of flat images. */
bool pumit__nearly_cubes(const double spacing[3]);

/* Moves the slice spacing as little as needed so that the degree of anisotropy is `da`. */
void pumit__spacing_force(double spacing[3], int32_t da);

/* ------------------------------------------------------------------------------------ intensities */

/* Network intensities are clamp((v - low) * scale, 0, 1), and 0 for what is not finite. */
typedef struct {
    double low, scale;
} pumit__window;

/* {0, 1} for a prepared image. */
pumit_status pumit__window_of(pumit__window *out, const pumit_volume *volume);

/* Where the type alone says what 0 and 1 are: 8-bit pictures. */
bool pumit__window_is_fixed(const pumit_volume *volume);
/* From the 0.5th percentile of the voxels above the minimum to the 99.5th, whatever the type; scale 0 if all are equal. */
pumit_status pumit__stretch_of(pumit__window *out, const pumit_volume *volume);

/* PUMIT_ERROR_SHAPE unless C voxel channels can become `channels`: gray repeats, RGB becomes luma, equal stays. */
pumit_status pumit__check_channels(const pumit_volume *volume, int64_t channels);

/* A row of `count` voxels in memory from (d, h, w) on, normalised, as (count, channels). */
void pumit__window_row(float *dst, const pumit_volume *volume, const pumit__window *window,
                       int64_t d, int64_t h, int64_t w, int64_t count, int64_t channels);

/* Voxels low <= i < high (D, H, W) of a volume, normalised, as (..., channels). Any thread may call it. Of a prepared image only what is
 * asked for is read: PUMIT_ERROR_IO or _FORMAT if its file is no longer what it was. */
pumit_status pumit__volume_box(float *dst, const pumit_volume *volume, const pumit__window *window,
                               const int64_t low[3], const int64_t high[3], int64_t channels);

/* ---------------------------------------------------------------------------------------- pictures */

/* 0..255 of an intensity in [0, 1]; what lies outside is clamped, NaN is 0. */
uint8_t pumit__pixel(float value);

/* Writes pixels of size (H, W, C), C 1 or 3, as a PNG file that appears whole or not at all. */
/* True if that is what libpng says where it cannot get memory. */
bool pumit__png_lacks_memory(const char *message);
pumit_status pumit__png_write(const char *path, const uint8_t *pixels, const int64_t size[3]);

/* ----------------------------------------------------------------------------------------- readers */

typedef enum {
    PUMIT__FILE_UNKNOWN,
    PUMIT__FILE_NIFTI,
    PUMIT__FILE_PNG,
    PUMIT__FILE_JPEG,
    PUMIT__FILE_TIFF,
    PUMIT__FILE_NPY,
    PUMIT__FILE_ZIP
} pumit__file_kind;

#define PUMIT__SNIFF_BYTES 544

/* The head of a regular file; of what is inside if it is gzip. */
typedef struct {
    pumit__file_kind kind;
    bool gzip;
    int64_t file_bytes; /* on disk */
    int64_t count;      /* bytes in `head` */
    uint8_t head[PUMIT__SNIFF_BYTES];
    char *path; /* of the header, where the path given was the .img of a pair; owned */
} pumit__sniffed;

/* PUMIT_ERROR_NOT_FOUND, _IO (a folder, a pipe, no permission), _FORMAT (empty, no image we know). */
pumit_status pumit__sniff(pumit__sniffed *out, const char *path);
void pumit__sniffed_free(pumit__sniffed *sniffed);

/* "scan.hdr" for a "scan.img" that has one; else a copy of `path`. NULL when out of memory. Free with free(). */
char *pumit__header_path(const char *path);

pumit_status pumit__png_read(pumit_volume **out, const pumit_context *ctx,
                             const pumit__sniffed *file);
pumit_status pumit__jpeg_read(pumit_volume **out, const pumit_context *ctx,
                              const pumit__sniffed *file);

pumit_status pumit__tiff_read(pumit_volume **out, const pumit_context *ctx,
                              const pumit__sniffed *file);
/* A lone .npy: (H, W), (H, W, 3) of u8, (D, H, W), (D, H, W, 1 or 3). */
pumit_status pumit__npy_read(pumit_volume **out, const pumit_context *ctx,
                             const pumit__sniffed *file);

/* Whatever holds one image: PNG, JPEG, TIFF, .npy. */
pumit_status pumit__picture_read(pumit_volume **out, const pumit_context *ctx,
                                 const pumit__sniffed *file);

/* An open image file whose volumes are read one after the other. */
typedef struct pumit__nifti pumit__nifti;
pumit_status pumit__nifti_open(pumit__nifti **out, const pumit_context *ctx,
                               const pumit__sniffed *file);
int64_t pumit__nifti_count(const pumit__nifti *nifti);
/* Volume `index`; going forward is cheap, going back starts over. */
pumit_status pumit__nifti_read(pumit_volume **out, pumit__nifti *nifti, int64_t index);
void pumit__nifti_close(pumit__nifti *nifti);

#endif
