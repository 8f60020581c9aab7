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
#include <pumit/scores.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Called after each step; `metrics` is the line of metrics.jsonl. A non-zero result stops the run as pumit_trainer_stop(). */
typedef int32_t (*pumit_progress_fn)(void *user, int64_t step, int64_t max_steps,
                                     const char *metrics);

/**
 * Makes a run. `train` has the images to learn from (labelled for "classify"), `validation` those to judge by (may be NULL). Both are
 * borrowed until the trainer is released.
 *
 * Keys of `config`, defaults in brackets:
 * - "recipe": "tokenizer", "vit", "classify" or "segment".
 * - "output": run directory; made if absent. PUMIT_ERROR_STATE while another trainer, of this
 *   process or another one, has it.
 * - "resume" (false): true continues what is there, with the configuration that it began with and what `config` says on top; nothing there, or no
 *   checkpoint yet: starts anew; checkpoints of which none can be read: PUMIT_ERROR_FORMAT. Without it a directory that already holds a run is an error.
 * - "init" (random weights): what a new run starts from, which is a model file, a run directory (its model.safetensors, else its newest checkpoint
 *   that can be read), a checkpoint, or weights of others as pumit_module_import() takes them; the context's log tells what was taken. Recipes
 *   "vit", "classify" and "segment" take a transformer or a classifier's one.
 * - "from_scratch" (false): true takes the configuration of what "init" names and none of its weights: the baseline of the same run. Weights of
 *   others have no configuration; "vit.*" counts then. Recipes "vit" and "classify".
 * - "tokenizer.*", "vit.*", "discriminator.*": configuration of new models; their "seed" is "train.seed" unless set.
 * - "data" (none): where the images came from; kept in the model file.
 *
 * Keys "train.KEY" of all recipes; "train.RECIPE.KEY" counts where "train.KEY" is not set, so that one file serves all:
 * - "train.steps" (1000; classify: 500; segment: 2000): steps to train.
 * - "train.batch" (8; classify: 32; segment: 2): images of a batch.
 * - "train.accumulate" (1): batches of a step, their gradients averaged.
 * - "train.seed" (0): of weights, data and masks.
 * - "train.learning_rate" (tokenizer, segment: 1e-3; vit: 1.5e-3; classify: 5e-4): the highest, after "train.warmup" (50) steps of a linear rise; a cosine then
 *   leads to "train.least_rate" (1e-6) at the last step.
 * - "train.milestones" (none): steps, 16 at most, in place of the cosine: from each on the rate is "train.milestone_factor" (0.1) of what it was.
 *   "train.schedule" ("cosine", or with milestones "milestones") says the same in a word.
 * - "train.weight_decay" (0.05; tokenizer: 1e-3; segment: 0.01), "train.beta2" (0.999; vit: 0.98), "train.clip_norm" (1; vit: 3; 0: off): as pumit_optimizer_create()
 *   takes them.
 * - "train.ema" (0: off): decay d of a moving average of the weights, min(d, (1 + n) / (10 + n)) at its update n = 0, 1, ...; validation,
 *   sheets and the result are of the average.
 * - "train.augment" (true): changed images to learn from, other ones each time they are drawn.
 * - "train.validate_every" (0; classify: 25; segment: 250), "train.sheet_every" (0): steps between validations, and sheets; 0: at the end only.
 * - "train.checkpoint_every" (250; classify: 100): steps between checkpoints; there is one at the end, too. "train.keep_last" (2): so many of the
 *   latest stay; "train.keep_every" (0: none): and those at its multiples of steps.
 * - "train.most_skipped" (10): a step whose loss or gradient is not finite is skipped and counted, and its images written to a file the first
 *   three times; after so many in a row the run stops with PUMIT_ERROR_STATE, naming the file of the last.
 * - "train.events" (true): files for TensorBoard.
 *
 * Keys of recipes "tokenizer" and "vit", which learn from crops:
 * - "train.tokens" ([4, 4, 4]): [d, h, w], most tokens of a crop.
 * - "train.balance" (0.5): 0..1, how far rare degrees of anisotropy are drawn more often; 1: all alike.
 * - "train.validate_batches" (16): batches of a validation.
 * - "train.workers" (1): threads that make batches ahead, beside those that compute; 0: none; batches are the same with any number.
 *   "train.prefetch" (4): batches that they keep ready in memory.
 * - "train.scale_range" ([0.85, 1.25]), "train.scale_probability" (0.5): source voxels per voxel of a scaled crop, in the plane; never so many that the
 *   crop leaves the image. This and the next two only with "train.augment".
 * - "train.slice_scale_probability" (0.3): of slices 0.8..1.25 voxels apart, where voxels are nearly cubes.
 * - "train.rotate_probability" (0.2): of up to 90 degrees in the plane, and 30 out of it where voxels are nearly cubes.
 *
 * Keys of recipe "tokenizer", whose loss is that of pumit_tokenizer_loss() and two more terms:
 * - "train.quant_weight" (1): of the prior term, whose mean token is that of all batches of a step; mode "nearest": of codebook and commitment.
 * - "train.entropy_weight" (0.2): of the entropy term.
 * - "train.lpips" (none: the term is off, which the context's log says): a file as pumit_lpips_load() takes. "train.perceptual_weight" (1): of the term;
 *   "train.perceptual_slices" (24): most slices of a batch that it looks at, a random choice.
 * - "train.gan_weight" (0: no discriminator; the paper has 3e-3): of the generator's term, which joins while max(average, last) of the
 *   discriminator's losses is "train.gan_threshold" (0.025) at most: average is 0.1 at first, then 0.9 average + 0.1 last.
 * - "train.gan_start" (0): steps before the discriminator begins to learn, after the tokenizer in each step.
 * - "train.discriminator_learning_rate" (0: the tokenizer's): its highest rate, on the tokenizer's schedule.
 *
 * Keys of recipe "vit", whose loss is that of pumit_vit_mim_loss():
 * - "tokenizer.file": the trained tokenizer's model file; required.
 * - "train.mask_ratio" (0.55): share of the tokens that is hidden. "vit.mask_layers": the blocks that see mask tokens.
 * - "train.packing" (false): true draws each image of a batch by itself, whatever its spacing and depth, and lays the tokens of all end to end, as
 *   pumit_vit_mim_loss_packed() does; false: all images of a batch have one degree of anisotropy and one depth, as published. Validation
 *   judges by batches of the latter kind in both cases.
 * - "train.recompute" (false): true computes the inside of each block again in backward instead of keeping it, which takes about a third more
 *   time and an eleventh of what a step keeps of blocks; losses are the same.
 * - "train.norms_every" (10): steps between the gradients' norms by block, "block_norms" of a line; 0: never.
 *
 * Keys of recipe "classify", which learns from whole images, each once in an epoch, so that weights of images do not count; the result is of the validation with the highest AUC as
 * pumit_classification_scores() has it for the task, of equal ones the last; where no validation has one, it is of the last step:
 * - "train.task" (by the labels: "labels" where an image may have several, else "classes"; "grades" where the classes have an order).
 * - "freeze_backbone" (false): true trains the head alone, and keeps nothing for gradients of the rest.
 * - "train.image_tokens" ([0, 0, 0]: as for embedding): [d, h, w], the token grid that images are resampled to.
 * - "train.patience" (0: off): the run ends after so many validations without a higher AUC.
 * - "train.layer_decay" (1: off): block i of L learns at decay^(L - i) of the rate, what comes before the blocks at decay^(L + 1).
 * - "train.class_weights" (none): weights of the loss by class: a list, or "balanced": n / (classes x images of the class). Task "labels":
 *   weights of present labels, balanced: absent / present.
 * - "train.mixup" (0: off): alpha, 4 at most: each image is mixed with the next one of its batch, s image + (1 - s) next, and so are its labels;
 *   s is drawn from Beta(alpha, alpha).
 * - "train.augment_strength" (1), where "train.augment": most rotation (15 degrees; out of the plane where voxels are nearly cubes), scale (12 %),
 *   shift (8 % of an axis), contrast (15 %), brightness (0.05 of 0..1) and noise (deviation 0.03) are multiplied by it; 0: none of these.
 * - "train.flips" ([0, 0, 1]), where "train.augment": 1 flips half of the images along D, H, W.
 *
 * Keys of recipe "segment", which learns from patches of images with label maps; the result is of the validation with the highest mean Dice of
 * the classes but the background, found by pumit_segmenter_segment(). Its network is that of "init" or "vit.*" with a new decoder:
 * - "segmenter.*": as pumit_segmenter_create() takes them; "segmenter.adaptive" (true): false makes one for the degree of anisotropy that most
 *   training images have.
 * - "train.spacing" ([0, 0, 0]): [slice, row, column] in mm that images are resampled to; 0: their own along that axis.
 * - "train.tokens" ([4, 4, 4]): [d, h, w], tokens of a patch; fewer where no image is that large.
 * - "train.foreground" (0.5): share of patches about a voxel of a class, all classes of an image alike.
 * - "train.thick" (0): share of the drawings of images of nearly cubic voxels that show them in slices 2 or 4 times as thick, so that an adaptive
 *   network knows those, too.
 * - "train.scale_range" ([0.7, 1.4]), "train.scale_probability" (0.3), "train.rotate_probability" (0.3: up to 30 degrees): as above, all axes alike.
 * - "train.flips" ([1, 1, 0]): 1 mirrors half of the patches along D, H, W. Mirroring along W, in scans of sagittal slices along D, makes left
 *   right: not for classes that tell them apart.
 * - "train.tone_probability" (0.3): of each of brightness, contrast, and two powers. "train.noise_probability" (0.15),
 *   "train.blur_probability" (0.15), "train.low_resolution_probability" (0.2): of what worse scanners do.
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

#ifdef __cplusplus
}
#endif
#endif
