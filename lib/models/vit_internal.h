/* SPDX-License-Identifier: Apache-2.0 */
/* Layout of the transformer, for the files that make it up (vit.c, vit_block.c, mim.c). */
#ifndef PUMIT_LIB_MODELS_VIT_INTERNAL_H
#define PUMIT_LIB_MODELS_VIT_INTERNAL_H

#include "lib/models/vit.h"

#define PUMIT__VIT_EPS          1e-5
#define PUMIT__VIT_ANGLE_TABLES 8

typedef struct {
    pumit__layer norm1, norm2;
    pumit__layer q, k, v, proj; /* k has no bias */
    pumit__layer w1, w2, w3, ffn_norm;
} pumit__vit_block;

/* Cosine and sine of the rotary angles of one token grid. */
typedef struct {
    int64_t grid[3];
    pumit_tensor *cosine, *sine; /* (L, head_dim / 2), owned */
} pumit__vit_angles;

struct pumit_vit {
    pumit_module module;
    int64_t in_channels, patch[3], dim, depth, heads, hidden, position_grid[3], codes, max_tokens;
    double rope_base[3];
    bool adaptive; /* a cubic patch, shrunk with the image's anisotropy */
    bool pool_class_token;
    bool recompute; /* training keeps each block's input alone */
    bool masked_layer[PUMIT__VIT_MOST_DEPTH];
    pumit__sac patch_embed; /* weight and bias alone unless adaptive */
    pumit_tensor *class_token, *position,
        *mask_token; /* (1, 1, dim), (1, d, h, w, dim), (1, 1, dim) or NULL */
    pumit__vit_block blocks[PUMIT__VIT_MOST_DEPTH];
    pumit__layer norm, head0, head2; /* head2.weight NULL: no masked-modelling head */
    pumit__vit_angles angles[PUMIT__VIT_ANGLE_TABLES];
    int32_t next_angles;
};

/* The table of a grid, computed once; borrowed, NULL on failure. */
const pumit__vit_angles *pumit__vit_angles_of(pumit_vit *vit, const int64_t grid[3]);
void pumit__vit_angles_destroy(pumit_vit *vit);

/*
 * One transformer block on (N, L, dim). `shown`: (N, K) of I64, the rows that take part, the others stay as they are; NULL: all.
 * The angles and offsets are those of the rows that take part. offsets NULL: the first token of each sequence is the class token, which
 * has no angles. Else (n + 1) of I64, the borders of n sequences end to end (N = 1), and each row has angles, class tokens those of no turn.
 * Computed again in backward where vit->recompute.
 */
pumit_tensor *pumit__vit_block_forward(pumit_vit *vit, int64_t i, pumit_tensor *x,
                                       pumit_tensor *cosine, pumit_tensor *sine,
                                       pumit_tensor *shown, pumit_tensor *offsets);
/* Rows `read` (N, K) of I64 of what block i gives, all rows taking part: (N, K, dim). The others are not computed past attention. */
pumit_tensor *pumit__vit_block_rows(pumit_vit *vit, int64_t i, pumit_tensor *x,
                                    pumit_tensor *cosine, pumit_tensor *sine, pumit_tensor *offsets,
                                    pumit_tensor *read);

/* The class token in front of tokens (N, L, dim). */
pumit_tensor *pumit__vit_with_class(const pumit_vit *vit, pumit_tensor *tokens);
pumit_tensor *pumit__vit_final_norm(const pumit_vit *vit, pumit_tensor *x);

/* --- vit_pack.c: sequences of any lengths end to end ------------------------------------------------------- */

/* Images of one shape and one degree of anisotropy. */
typedef struct {
    pumit_tensor *image; /* (N, D, H, W, C) in [0, 1] */
    int32_t da;
} pumit__vit_images;

/* n sequences, each a class token and the tokens of its image; R rows in all. In the scope. */
typedef struct {
    pumit_tensor *rows;          /* (1, R, dim) */
    pumit_tensor *cosine, *sine; /* (R, head_dim / 2), which leave class tokens as they are */
    pumit_tensor *offsets; /* (n + 1) of I64: sequence i is the rows offsets[i] .. offsets[i + 1] */
} pumit__vit_pack;

/* `count` groups of images one after the other. */
pumit_status pumit__vit_pack_images(pumit__vit_pack *out, pumit_vit *vit,
                                    const pumit__vit_images *images, int64_t count);
/* Hidden states (1, R, dim) after the last norm; of them what pumit__vit_pooled() makes of each sequence: (n, dim). */
pumit_tensor *pumit__vit_pack_hidden(pumit_vit *vit, const pumit__vit_pack *pack);
pumit_tensor *pumit__vit_pack_pooled(const pumit_vit *vit, const pumit__vit_pack *pack,
                                     pumit_tensor *hidden);

#endif
