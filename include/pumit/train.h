/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file train.h
 * One training loop for all recipes: data, steps, schedule, log, checkpoints, resume.
 *
 * A run directory holds config.json (everything that was chosen), metrics.jsonl (one JSON object a step), events.out.tfevents.* (the same for
 * TensorBoard: scalars "train/NAME" and "validation/NAME", images "sheets/NAME", the text "config"), sheets/NAME.png,
 * checkpoints/step-NNNNNNNNN.safetensors (the whole state; each is whole on disk before an older one goes), model.safetensors (the result), lock
 * (held while a process trains there), and bad-batch-step-NNNNNNNNN.safetensors (images of a step that was skipped).
 *
 * Resuming takes the newest checkpoint that can be read, telling the log of those that cannot, and continues to the very same losses with the
 * same number of threads, however the run ended: stopped, killed, or by a full disk.
 */
#ifndef PUMIT_TRAIN_H
#define PUMIT_TRAIN_H

#include <pumit/classifier.h>
#include <pumit/dataset.h>
#include <pumit/optimizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Called after each step; `metrics` is the line of metrics.jsonl. A non-zero result stops the run as pumit_trainer_stop(). */
typedef int32_t (*pumit_progress_fn)(void *user, int64_t step, int64_t max_steps,
                                     const char *metrics);

/**
 * Makes a run. `train` has the images to learn from (labelled for "classify"), `validation` those to judge by (may be NULL). Both are
 * borrowed until the trainer is released. Keys of `config`:
 * - "recipe": "tokenizer", "vit" or "classify". "output": run directory; made if absent. "resume": true continues what is there, by
 *   the keys it was begun with where `config` has none (nothing there, or no checkpoint yet: starts anew; checkpoints of which none can be
 *   read: PUMIT_ERROR_FORMAT); without it a directory that already holds a run is an error. A directory in which another process trains: PUMIT_ERROR_STATE.
 * - "tokenizer.*", "vit.*": configuration of new models. "init": what to start from; recipes "tokenizer" and "vit" take a model file,
 *   a run directory (its model.safetensors, else its newest checkpoint), a checkpoint, or weights of others as pumit_module_import() takes them,
 *   and log what was taken; recipe "vit" needs "tokenizer.file";
 *   recipe "classify" takes a pre-trained transformer as "init", or none to start from scratch; "freeze_backbone": true trains the head alone.
 * - "train.steps", "train.batch", "train.accumulate", "train.learning_rate", "train.warmup", "train.weight_decay", "train.clip_norm",
 *   "train.seed", "train.tokens" ([d,h,w] of a crop), "train.augment", "train.mask_ratio", "train.quant_weight", "train.entropy_weight",
 *   "train.checkpoint_every", "train.sheet_every", "train.validate_every", "train.validate_batches", "train.balance" (0..1: how far rare
 *   anisotropies are drawn more often), "train.least_rate", "train.beta2", "train.image_tokens" ([d,h,w]: the token grid of classified images),
 *   "train.events" (false: no files for TensorBoard),
 *   "train.scale_range" ([least, most], [0.85, 1.25]: source voxels per voxel of a scaled crop, in the plane; never so many that the crop leaves the
 *   image), "train.scale_probability" (0.5), "train.slice_scale_probability" (0.3: slices 0.8..1.25 apart, where voxels are nearly cubes),
 *   "train.rotate_probability" (0.2: up to 90 degrees in the plane, and 30 out of it where voxels are nearly cubes), all four of crops and only with
 *   "train.augment"; "train.workers" (1: threads that make batches of crops ahead, beside those that compute; 0: none; batches are the same with any
 *   number), "train.prefetch" (4: batches that they keep ready in memory):
 *   each has a default by recipe. "train.RECIPE.KEY" counts where "train.KEY" is not set.
 * - Recipe "tokenizer": the loss of pumit_tokenizer_loss(), the prior's mean token being that of all micro-batches of a step, and
 *   "train.lpips" (a file as pumit_lpips_load() takes; without it the term is off, which the context's log says), "train.perceptual_weight" (1),
 *   "train.perceptual_slices" (24: a random choice of the slices of a batch, if it has more); "train.gan_weight" (0: no discriminator; the paper
 *   has 3e-3). The discriminator ("discriminator.*") learns from step "train.gan_start" (0) on, after the tokenizer, at the rate
 *   "train.discriminator_learning_rate" on the tokenizer's schedule (0: the tokenizer's own rate). The generator's term joins while
 *   max(average, last) of the discriminator's losses is "train.gan_threshold" (0.025) at most: average is 0.1 at first, then 0.9 average + 0.1 last.
 * - "train.keep_last" (2): so many of the latest checkpoints stay; "train.keep_every" (0: none): and those at its multiples of steps.
 * - "train.ema" (0: off): decay d of a moving average of the weights, min(d, (1 + n) / (10 + n)) at its update n = 0, 1, ...; validation,
 *   sheets and the result are of the average.
 * - "train.most_skipped" (10): a step whose loss or gradient is not finite is skipped and counted, and its images written to a file the first
 *   three times; after so many in a row the run stops with PUMIT_ERROR_STATE, naming the file of the last.
 * - Recipe "vit": the loss of pumit_vit_mim_loss(); "train.recompute" (false; true: the inside of each block is computed again in backward
 *   instead of being kept, which takes a third more time and a fraction of the memory), "train.norms_every" (10: steps between the gradients'
 *   norms by block, "block_norms" of a line; 0: never). "vit.mask_layers": the blocks that see mask tokens.
 * - "data": where the images came from; kept in the model file.
 * @since 0.1
 */
PUMIT_API pumit_status pumit_trainer_create(pumit_trainer **out, pumit_context *context,
                                            const pumit_dataset *train,
                                            const pumit_dataset *validation,
                                            const pumit_config *config);

/** NULL is fine. @since 0.1 */
PUMIT_API void pumit_trainer_release(pumit_trainer *trainer);

/** Receives progress; NULL for none. @since 0.1 */
PUMIT_API void pumit_trainer_set_progress(pumit_trainer *trainer, pumit_progress_fn progress,
                                          void *user);

/** Runs to the end or until stopped; then the state is saved and PUMIT_OK (finished) or PUMIT_ERROR_CANCELLED (stopped, can be
 * resumed) returned. A write that fails, as on a full disk, stops the run with PUMIT_ERROR_IO or PUMIT_ERROR_NOT_FOUND; the message names the
 * file and the checkpoint that a resumed run goes on from. After any failure but PUMIT_ERROR_CANCELLED the trainer is good for nothing more:
 * PUMIT_ERROR_STATE. @since 0.1 */
PUMIT_API pumit_status pumit_trainer_run(pumit_trainer *trainer);

/** Asks a running trainer to finish its step, save, and return. May be called from a signal handler or another thread. @since 0.1 */
PUMIT_API void pumit_trainer_stop(pumit_trainer *trainer);

/** Summary of a run that pumit_trainer_run() has ended, as JSON: recipe, steps, first and last loss, seconds, validation figures
 * (PSNR, perplexity, codes used; loss; AUC, accuracy). Free with pumit_free(). @since 0.1 */
PUMIT_API pumit_status pumit_trainer_summary(char **out, const pumit_trainer *trainer);

/** Path of the finished model file; borrowed. @since 0.1 */
PUMIT_API const char *pumit_trainer_model_path(const pumit_trainer *trainer);

/**
 * Figures of merit from probabilities (n, classes): accuracy of the top class, and area under the ROC curve (binary: of class 1; more classes: mean
 * of one against the rest over the classes that occur; ties count half; NaN if only one class occurs). @since 0.1
 */
PUMIT_API pumit_status pumit_classification_scores(double *accuracy, double *auc, int64_t n,
                                                   int64_t classes, const double *probabilities,
                                                   const int64_t *labels);

#ifdef __cplusplus
}
#endif
#endif
