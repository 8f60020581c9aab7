/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interface as it is promised, one declaration a line: made from include/pumit by `make abi-update`; docs/abi.md has the
 * rules. Before a function stands the release it came with. PUMIT_PIN: a member of the plugin interface, its place in bytes
 * and its type.
 */
/* clang-format off */
#include <stdint.h>

#define PUMIT_DECLINED 1
#define PUMIT_UNARY_AFFINE 1
#define PUMIT_UNARY_GELU 2
#define PUMIT_UNARY_LEAKY_RELU 3
#define PUMIT_UNARY_ABS 4
#define PUMIT_UNARY_XLOGX 5
#define PUMIT_UNARY_SILU 6
#define PUMIT_UNARY_SQRT 7
#define PUMIT_BINARY_ADD 1
#define PUMIT_BINARY_SUB 2
#define PUMIT_BINARY_MUL 3
#define PUMIT_BINARY_DIV 4
#define PUMIT_RESAMPLE_AREA 1
#define PUMIT_RESAMPLE_TRILINEAR 2
#define PUMIT_RESAMPLE_NEAREST_EXACT 3
#define PUMIT_RESAMPLE_BICUBIC 4
#define PUMIT_ABI_VERSION 0
#define PUMIT_OK 0
#define PUMIT_ERROR_INVALID_ARGUMENT (-1)
#define PUMIT_ERROR_OUT_OF_MEMORY (-2)
#define PUMIT_ERROR_IO (-3)
#define PUMIT_ERROR_FORMAT (-4)
#define PUMIT_ERROR_UNSUPPORTED (-5)
#define PUMIT_ERROR_SHAPE (-6)
#define PUMIT_ERROR_LIMIT (-7)
#define PUMIT_ERROR_NOT_FOUND (-8)
#define PUMIT_ERROR_STATE (-9)
#define PUMIT_ERROR_BACKEND (-10)
#define PUMIT_ERROR_CANCELLED (-11)
#define PUMIT_ERROR_INTERNAL (-12)
#define PUMIT_TASK_CLASSES 1
#define PUMIT_TASK_LABELS 2
#define PUMIT_TASK_GRADES 3
#define PUMIT_LOG_INFO 0
#define PUMIT_LOG_WARNING 1
#define PUMIT_MAX_DIMS 8
#define PUMIT_F32 1
#define PUMIT_F64 2
#define PUMIT_F16 3
#define PUMIT_BF16 4
#define PUMIT_U8 5
#define PUMIT_I16 6
#define PUMIT_I32 7
#define PUMIT_I64 8
#define PUMIT_TERM_L1 0
#define PUMIT_TERM_PRIOR 1
#define PUMIT_TERM_ENTROPY 2
#define PUMIT_TERM_MSE 3
#define PUMIT_TERM_COUNT 4

typedef int32_t pumit_status;
typedef struct pumit_config pumit_config;
typedef struct pumit_context pumit_context;
typedef struct pumit_tensor pumit_tensor;
typedef struct pumit_module pumit_module;
typedef struct pumit_sac_conv pumit_sac_conv;
typedef struct pumit_tokenizer pumit_tokenizer;
typedef struct pumit_vit pumit_vit;
typedef struct pumit_classifier pumit_classifier;
typedef struct pumit_segmenter pumit_segmenter;
typedef struct pumit_optimizer pumit_optimizer;
typedef struct pumit_volume pumit_volume;
typedef struct pumit_label_map pumit_label_map;
typedef struct pumit_dataset pumit_dataset;
typedef struct pumit_segmentation_report pumit_segmentation_report;
typedef struct pumit_trainer pumit_trainer;
typedef struct pumit_discriminator pumit_discriminator;
typedef struct pumit_lpips pumit_lpips;
typedef int32_t pumit_task;
typedef int32_t pumit_dtype;
typedef void (*pumit_log_fn)(void *user, int32_t level, const char *message);
typedef int32_t (*pumit_prepare_fn)(void *user, int64_t done, int64_t total, const char *path);
typedef int32_t (*pumit_segment_fn)(void *user, int64_t done, int64_t total);
typedef int32_t (*pumit_progress_fn)(void *user, int64_t step, int64_t max_steps, const char *metrics);

/* 0.1 */ const char *pumit_status_name(pumit_status status);
/* 0.1 */ const char *pumit_last_error(void);
/* 0.1 */ const char *pumit_version(void);
/* 0.1 */ int32_t pumit_abi_version(void);
/* 0.1 */ void pumit_free(void *memory);
/* 0.1 */ pumit_status pumit_classifier_create(pumit_classifier **out, pumit_vit *vit, const pumit_config *config);
/* 0.1 */ pumit_status pumit_classifier_load(pumit_classifier **out, pumit_context *context, const char *path);
/* 0.1 */ pumit_status pumit_classifier_share(pumit_classifier **out, pumit_context *context, const pumit_classifier *classifier);
/* 0.1 */ void pumit_classifier_release(pumit_classifier *classifier);
/* 0.1 */ pumit_module *pumit_classifier_module(pumit_classifier *classifier);
/* 0.1 */ pumit_vit *pumit_classifier_vit(pumit_classifier *classifier);
/* 0.1 */ int64_t pumit_classifier_classes(const pumit_classifier *classifier);
/* 0.1 */ pumit_task pumit_classifier_task(const pumit_classifier *classifier);
/* 0.1 */ const char *pumit_classifier_class_name(const pumit_classifier *classifier, int64_t c);
/* 0.1 */ pumit_status pumit_classifier_forward(pumit_tensor **out, pumit_classifier *classifier, pumit_tensor *image, const double spacing[3]);
/* 0.1 */ pumit_status pumit_classifier_loss(pumit_tensor **out, pumit_classifier *classifier, pumit_tensor *image, const double spacing[3], const int64_t *labels);
/* 0.1 */ pumit_status pumit_classifier_predict(pumit_tensor **out, pumit_classifier *classifier, const pumit_volume *volume);
/* 0.1 */ pumit_status pumit_config_create(pumit_config **out);
/* 0.1 */ pumit_status pumit_config_parse(pumit_config **out, const char *json);
/* 0.1 */ pumit_status pumit_config_read(pumit_config **out, const char *path);
/* 0.1 */ void pumit_config_release(pumit_config *config);
/* 0.1 */ pumit_status pumit_config_set_int(pumit_config *config, const char *key, int64_t value);
/* 0.1 */ pumit_status pumit_config_set_double(pumit_config *config, const char *key, double value);
/* 0.1 */ pumit_status pumit_config_set_bool(pumit_config *config, const char *key, int32_t value);
/* 0.1 */ pumit_status pumit_config_set_string(pumit_config *config, const char *key, const char *value);
/* 0.1 */ pumit_status pumit_config_set_json(pumit_config *config, const char *key, const char *json);
/* 0.1 */ pumit_status pumit_config_get_int(int64_t *out, const pumit_config *config, const char *key, int64_t fallback);
/* 0.1 */ pumit_status pumit_config_get_double(double *out, const pumit_config *config, const char *key, double fallback);
/* 0.1 */ pumit_status pumit_config_get_bool(int32_t *out, const pumit_config *config, const char *key, int32_t fallback);
/* 0.1 */ pumit_status pumit_config_get_string(const char **out, const pumit_config *config, const char *key, const char *fallback);
/* 0.1 */ pumit_status pumit_config_get_ints(int64_t *values, int32_t most, int32_t *count, const pumit_config *config, const char *key);
/* 0.1 */ pumit_status pumit_config_get_section(pumit_config **out, const pumit_config *config, const char *key);
/* 0.1 */ pumit_status pumit_config_merge(pumit_config *config, const pumit_config *over);
/* 0.1 */ pumit_status pumit_config_to_json(char **out, const pumit_config *config);
/* 0.1 */ pumit_status pumit_context_create(pumit_context **out, const pumit_config *options);
/* 0.1 */ void pumit_context_release(pumit_context *context);
/* 0.1 */ const char *pumit_context_device(const pumit_context *context);
/* 0.1 */ int32_t pumit_context_threads(const pumit_context *context);
/* 0.1 */ void pumit_context_set_log(pumit_context *context, pumit_log_fn log, void *user);
/* 0.1 */ int32_t pumit_context_set_recording(pumit_context *context, int32_t on);
/* 0.1 */ pumit_status pumit_context_memory(const pumit_context *context, int64_t *in_use, int64_t *peak, int64_t *system_allocations);
/* 0.1 */ void pumit_context_trim(pumit_context *context);
/* 0.1 */ pumit_status pumit_dataset_open(pumit_dataset **out, pumit_context *context, int32_t count, const char *const *paths, const pumit_config *options);
/* 0.1 */ pumit_status pumit_dataset_subset(pumit_dataset **out, const pumit_dataset *dataset, const pumit_config *options);
/* 0.1 */ pumit_status pumit_dataset_files(char **out, int32_t count, const char *const *paths, const pumit_config *options);
/* 0.1 */ void pumit_dataset_release(pumit_dataset *dataset);
/* 0.1 */ int64_t pumit_dataset_count(const pumit_dataset *dataset);
/* 0.1 */ int64_t pumit_dataset_skipped(const pumit_dataset *dataset);
/* 0.1 */ int64_t pumit_dataset_classes(const pumit_dataset *dataset);
/* 0.1 */ const pumit_volume *pumit_dataset_volume(const pumit_dataset *dataset, int64_t i);
/* 0.1 */ const char *pumit_dataset_name(const pumit_dataset *dataset, int64_t i);
/* 0.1 */ int64_t pumit_dataset_label(const pumit_dataset *dataset, int64_t i);
/* 0.1 */ const pumit_label_map *pumit_dataset_label_map(const pumit_dataset *dataset, int64_t i);
/* 0.1 */ int32_t pumit_dataset_multilabel(const pumit_dataset *dataset);
/* 0.1 */ int32_t pumit_dataset_has_label(const pumit_dataset *dataset, int64_t i, int64_t label);
/* 0.1 */ const char *pumit_dataset_class_name(const pumit_dataset *dataset, int64_t label);
/* 0.1 */ pumit_status pumit_discriminator_create(pumit_discriminator **out, pumit_context *context, const pumit_config *config);
/* 0.1 */ pumit_status pumit_discriminator_load(pumit_discriminator **out, pumit_context *context, const char *path);
/* 0.1 */ void pumit_discriminator_release(pumit_discriminator *discriminator);
/* 0.1 */ pumit_module *pumit_discriminator_module(pumit_discriminator *discriminator);
/* 0.1 */ pumit_status pumit_discriminator_forward(pumit_tensor **out, pumit_discriminator *discriminator, pumit_tensor *image, const double spacing[3]);
/* 0.1 */ pumit_status pumit_discriminator_loss(pumit_tensor **out, pumit_discriminator *discriminator, pumit_tensor *real, pumit_tensor *fake, const double spacing[3]);
/* 0.1 */ pumit_status pumit_discriminator_generator_loss(pumit_tensor **out, pumit_discriminator *discriminator, pumit_tensor *fake, const double spacing[3]);
/* 0.1 */ pumit_status pumit_label_map_create(pumit_label_map **out, pumit_context *context, const pumit_volume *grid, const uint8_t *labels);
/* 0.1 */ pumit_status pumit_label_map_read(pumit_label_map **out, pumit_context *context, const char *path, const pumit_volume *grid);
/* 0.1 */ pumit_status pumit_label_map_write(const pumit_label_map *map, const char *path, const pumit_config *options);
/* 0.1 */ void pumit_label_map_release(pumit_label_map *map);
/* 0.1 */ void pumit_label_map_shape(const pumit_label_map *map, int64_t shape[3]);
/* 0.1 */ void pumit_label_map_spacing(const pumit_label_map *map, double spacing[3]);
/* 0.1 */ const uint8_t *pumit_label_map_labels(const pumit_label_map *map);
/* 0.1 */ pumit_status pumit_lpips_create(pumit_lpips **out, pumit_context *context, const pumit_config *config);
/* 0.1 */ pumit_status pumit_lpips_load(pumit_lpips **out, pumit_context *context, const char *path);
/* 0.1 */ void pumit_lpips_release(pumit_lpips *lpips);
/* 0.1 */ pumit_module *pumit_lpips_module(pumit_lpips *lpips);
/* 0.1 */ pumit_status pumit_lpips_distance(pumit_tensor **out, pumit_lpips *lpips, pumit_tensor *a, pumit_tensor *b);
/* 0.1 */ const char *pumit_module_kind(const pumit_module *module);
/* 0.1 */ pumit_status pumit_module_config(pumit_config **out, const pumit_module *module);
/* 0.1 */ int64_t pumit_module_parameter_count(const pumit_module *module);
/* 0.1 */ int64_t pumit_module_element_count(const pumit_module *module);
/* 0.1 */ const char *pumit_module_parameter_name(const pumit_module *module, int64_t i);
/* 0.1 */ pumit_tensor *pumit_module_parameter(const pumit_module *module, int64_t i);
/* 0.1 */ pumit_status pumit_module_find(pumit_tensor **out, const pumit_module *module, const char *name);
/* 0.1 */ void pumit_module_zero_grad(pumit_module *module);
/* 0.1 */ pumit_status pumit_module_save(const pumit_module *module, const char *path, const pumit_config *provenance);
/* 0.1 */ pumit_status pumit_module_load_weights(pumit_module *module, const char *path, const char *prefix, int32_t strict, int64_t *loaded);
/* 0.1 */ pumit_status pumit_module_import(pumit_module *module, const char *path, const pumit_config *options);
/* 0.1 */ pumit_status pumit_model_file_info(pumit_config **out, const char *path);
/* 0.1 */ pumit_status pumit_model_file_digest(pumit_config **out, const char *path);
/* 0.1 */ pumit_status pumit_optimizer_create(pumit_optimizer **out, pumit_module *module, const pumit_config *config);
/* 0.1 */ void pumit_optimizer_release(pumit_optimizer *optimizer);
/* 0.1 */ pumit_status pumit_optimizer_step(pumit_optimizer *optimizer, double learning_rate, int32_t accumulated, double *grad_norm);
/* 0.1 */ int64_t pumit_optimizer_steps(const pumit_optimizer *optimizer);
/* 0.1 */ double pumit_cosine_rate(int64_t step, double base, int64_t max_steps, int64_t warmup, double least);
/* 0.1 */ pumit_status pumit_prepare(char **report, pumit_context *context, int32_t count, const char *const *paths, const pumit_config *options, pumit_prepare_fn progress, void *user);
/* 0.1 */ pumit_status pumit_sac_conv_create(pumit_sac_conv **out, pumit_context *context, const pumit_config *config);
/* 0.1 */ void pumit_sac_conv_release(pumit_sac_conv *conv);
/* 0.1 */ pumit_module *pumit_sac_conv_module(pumit_sac_conv *conv);
/* 0.1 */ pumit_status pumit_sac_conv_forward(pumit_tensor **out, double out_spacing[3], int32_t *out_down, pumit_sac_conv *conv, pumit_tensor *src, const double image_spacing[3], int32_t down);
/* 0.1 */ pumit_status pumit_sac_conv_forward_da(pumit_tensor **out, int32_t *out_down, pumit_sac_conv *conv, pumit_tensor *src, int32_t da, int32_t down);
/* 0.1 */ pumit_status pumit_classification_scores(double *accuracy, double *auc, pumit_task task, int64_t n, int64_t classes, const double *probabilities, const int64_t *labels);
/* 0.1 */ pumit_status pumit_classification_report(char **json, pumit_task task, int64_t n, int64_t classes, const double *probabilities, const int64_t *labels, const pumit_config *options);
/* 0.1 */ pumit_status pumit_segmenter_segment(pumit_label_map **out, pumit_segmenter *segmenter, const pumit_volume *volume, const pumit_config *options, pumit_segment_fn progress, void *user);
/* 0.1 */ pumit_status pumit_segmentation_scores(double *dice, double *hausdorff95, double *surface_dice, int64_t classes, const pumit_label_map *prediction, const pumit_label_map *reference, double tolerance_mm);
/* 0.1 */ pumit_status pumit_segmentation_report_create(pumit_segmentation_report **out, const pumit_config *options);
/* 0.1 */ void pumit_segmentation_report_release(pumit_segmentation_report *report);
/* 0.1 */ pumit_status pumit_segmentation_report_add(pumit_segmentation_report *report, const char *name, const pumit_label_map *prediction, const pumit_label_map *reference);
/* 0.1 */ pumit_status pumit_segmentation_report_to_json(char **json, const pumit_segmentation_report *report);
/* 0.1 */ pumit_status pumit_segmenter_create(pumit_segmenter **out, pumit_context *context, const pumit_config *config);
/* 0.1 */ pumit_status pumit_segmenter_load(pumit_segmenter **out, pumit_context *context, const char *path);
/* 0.1 */ pumit_status pumit_segmenter_share(pumit_segmenter **out, pumit_context *context, const pumit_segmenter *segmenter);
/* 0.1 */ void pumit_segmenter_release(pumit_segmenter *segmenter);
/* 0.1 */ pumit_module *pumit_segmenter_module(pumit_segmenter *segmenter);
/* 0.1 */ pumit_vit *pumit_segmenter_vit(pumit_segmenter *segmenter);
/* 0.1 */ int64_t pumit_segmenter_classes(const pumit_segmenter *segmenter);
/* 0.1 */ int32_t pumit_segmenter_adaptive(const pumit_segmenter *segmenter);
/* 0.1 */ pumit_status pumit_segmenter_stride(int64_t stride[3], const pumit_segmenter *segmenter, const double spacing[3]);
/* 0.1 */ pumit_status pumit_segmenter_forward(pumit_tensor **out, pumit_segmenter *segmenter, pumit_tensor *image, const double spacing[3]);
/* 0.1 */ pumit_status pumit_segmenter_loss(pumit_tensor **out, pumit_segmenter *segmenter, pumit_tensor *image, const double spacing[3], pumit_tensor *labels);
/* 0.1 */ int64_t pumit_dtype_size(pumit_dtype dtype);
/* 0.1 */ pumit_status pumit_tensor_create(pumit_tensor **out, pumit_context *context, pumit_dtype dtype, int32_t ndim, const int64_t *shape);
/* 0.1 */ pumit_status pumit_tensor_from_data(pumit_tensor **out, pumit_context *context, pumit_dtype dtype, int32_t ndim, const int64_t *shape, const void *data);
/* 0.1 */ pumit_tensor *pumit_tensor_retain(pumit_tensor *tensor);
/* 0.1 */ void pumit_tensor_release(pumit_tensor *tensor);
/* 0.1 */ pumit_dtype pumit_tensor_dtype(const pumit_tensor *tensor);
/* 0.1 */ int32_t pumit_tensor_ndim(const pumit_tensor *tensor);
/* 0.1 */ const int64_t *pumit_tensor_shape(const pumit_tensor *tensor);
/* 0.1 */ int64_t pumit_tensor_count(const pumit_tensor *tensor);
/* 0.1 */ pumit_status pumit_tensor_data(void **out, pumit_tensor *tensor);
/* 0.1 */ void pumit_tensor_touch(pumit_tensor *tensor);
/* 0.1 */ pumit_status pumit_tensor_read(const pumit_tensor *tensor, pumit_dtype dtype, void *data, int64_t bytes);
/* 0.1 */ pumit_status pumit_tensor_write(pumit_tensor *tensor, pumit_dtype dtype, const void *data, int64_t bytes);
/* 0.1 */ pumit_status pumit_tensor_item(double *out, const pumit_tensor *tensor);
/* 0.1 */ pumit_status pumit_tensor_set_requires_grad(pumit_tensor *tensor, int32_t on);
/* 0.1 */ pumit_status pumit_tensor_backward(pumit_tensor *loss);
/* 0.1 */ pumit_status pumit_tensor_grad(pumit_tensor **out, const pumit_tensor *tensor);
/* 0.1 */ pumit_status pumit_tensor_to_dlpack(void **out, pumit_tensor *tensor);
/* 0.1 */ pumit_status pumit_tensor_from_dlpack(pumit_tensor **out, pumit_context *context, void *managed);
/* 0.1 */ pumit_status pumit_tokenizer_create(pumit_tokenizer **out, pumit_context *context, const pumit_config *config);
/* 0.1 */ pumit_status pumit_tokenizer_load(pumit_tokenizer **out, pumit_context *context, const char *path);
/* 0.1 */ pumit_status pumit_tokenizer_share(pumit_tokenizer **out, pumit_context *context, const pumit_tokenizer *tokenizer);
/* 0.1 */ void pumit_tokenizer_release(pumit_tokenizer *tokenizer);
/* 0.1 */ pumit_module *pumit_tokenizer_module(pumit_tokenizer *tokenizer);
/* 0.1 */ int64_t pumit_tokenizer_codes(const pumit_tokenizer *tokenizer);
/* 0.1 */ int64_t pumit_tokenizer_channels(const pumit_tokenizer *tokenizer);
/* 0.1 */ const int64_t *pumit_tokenizer_patch(const pumit_tokenizer *tokenizer);
/* 0.1 */ pumit_status pumit_tokenizer_encode(pumit_tensor **out, pumit_tokenizer *tokenizer, pumit_tensor *image, const double spacing[3]);
/* 0.1 */ pumit_status pumit_tokenizer_decode(pumit_tensor **out, pumit_tokenizer *tokenizer, pumit_tensor *tokens, const double spacing[3]);
/* 0.1 */ pumit_status pumit_tokenizer_reconstruct(pumit_tensor **out, pumit_tokenizer *tokenizer, pumit_tensor *image, const double spacing[3]);
/* 0.1 */ pumit_status pumit_tokenizer_set_step(pumit_tokenizer *tokenizer, int64_t step, int64_t max_steps);
/* 0.1 */ double pumit_tokenizer_temperature(const pumit_tokenizer *tokenizer);
/* 0.1 */ pumit_status pumit_tokenizer_loss(pumit_tensor **out, double *terms, pumit_tokenizer *tokenizer, pumit_tensor *image, const double spacing[3], double quant_weight, double entropy_weight);
/* 0.1 */ pumit_status pumit_trainer_create(pumit_trainer **out, pumit_context *context, const pumit_dataset *train, const pumit_dataset *validation, const pumit_config *config);
/* 0.1 */ void pumit_trainer_release(pumit_trainer *trainer);
/* 0.1 */ void pumit_trainer_set_progress(pumit_trainer *trainer, pumit_progress_fn progress, void *user);
/* 0.1 */ pumit_status pumit_trainer_run(pumit_trainer *trainer);
/* 0.1 */ void pumit_trainer_stop(pumit_trainer *trainer);
/* 0.1 */ pumit_status pumit_trainer_summary(char **out, const pumit_trainer *trainer);
/* 0.1 */ const char *pumit_trainer_model_path(const pumit_trainer *trainer);
/* 0.1 */ pumit_status pumit_vit_create(pumit_vit **out, pumit_context *context, const pumit_config *config);
/* 0.1 */ pumit_status pumit_vit_load(pumit_vit **out, pumit_context *context, const char *path);
/* 0.1 */ pumit_status pumit_vit_share(pumit_vit **out, pumit_context *context, const pumit_vit *vit);
/* 0.1 */ void pumit_vit_release(pumit_vit *vit);
/* 0.1 */ pumit_module *pumit_vit_module(pumit_vit *vit);
/* 0.1 */ int64_t pumit_vit_dim(const pumit_vit *vit);
/* 0.1 */ int64_t pumit_vit_channels(const pumit_vit *vit);
/* 0.1 */ const int64_t *pumit_vit_patch(const pumit_vit *vit);
/* 0.1 */ void pumit_vit_set_recompute(pumit_vit *vit, int32_t on);
/* 0.1 */ pumit_status pumit_vit_grid(int64_t grid[3], const pumit_vit *vit, const int64_t size[3], const double spacing[3]);
/* 0.1 */ pumit_status pumit_vit_forward(pumit_tensor **out, pumit_vit *vit, pumit_tensor *image, const double spacing[3]);
/* 0.1 */ pumit_status pumit_vit_embed(pumit_tensor **out, pumit_vit *vit, const pumit_volume *volume);
/* 0.1 */ pumit_status pumit_vit_embed_packed(pumit_tensor **out, pumit_vit *vit, int64_t count, const pumit_volume *const *volumes);
/* 0.1 */ pumit_status pumit_vit_random_visible(pumit_tensor **out, pumit_context *context, int64_t n, int64_t length, double mask_ratio, uint64_t seed);
/* 0.1 */ pumit_status pumit_vit_mim_loss(pumit_tensor **out, pumit_vit *vit, pumit_tokenizer *tokenizer, pumit_tensor *image, const double spacing[3], pumit_tensor *visible);
/* 0.1 */ pumit_status pumit_vit_mim_loss_packed(pumit_tensor **out, pumit_vit *vit, pumit_tokenizer *tokenizer, int64_t count, pumit_tensor *const *images, const double *spacing, pumit_tensor *const *visible);
/* 0.1 */ pumit_status pumit_vit_predict(pumit_tensor **out, pumit_vit *vit, pumit_tensor *image, const double spacing[3], pumit_tensor *visible);
/* 0.1 */ pumit_status pumit_degree_of_anisotropy(int32_t *out, const double spacing[3]);
/* 0.1 */ pumit_status pumit_volume_read(pumit_volume **out, pumit_context *context, const char *path, int64_t index);
/* 0.1 */ pumit_status pumit_volume_file_count(int64_t *out, pumit_context *context, const char *path);
/* 0.1 */ pumit_status pumit_volume_create(pumit_volume **out, pumit_context *context, pumit_dtype dtype, const int64_t size[3], int64_t channels, const void *data, const double *affine);
/* 0.1 */ void pumit_volume_release(pumit_volume *volume);
/* 0.1 */ void pumit_volume_shape(const pumit_volume *volume, int64_t shape[4]);
/* 0.1 */ void pumit_volume_spacing(const pumit_volume *volume, double spacing[3]);
/* 0.1 */ int32_t pumit_volume_anisotropy(const pumit_volume *volume);
/* 0.1 */ void pumit_volume_affine(const pumit_volume *volume, double affine[16]);
/* 0.1 */ void pumit_volume_source_axes(const pumit_volume *volume, int32_t axes[3]);
/* 0.1 */ const char *pumit_volume_modality(const pumit_volume *volume);
/* 0.1 */ const float *pumit_volume_voxels(const pumit_volume *volume);
/* 0.1 */ pumit_status pumit_volume_to_tensor(pumit_tensor **out, const pumit_volume *volume, pumit_context *context, int64_t channels);
/* 0.1 */ pumit_status pumit_volume_to_patches(pumit_tensor **out, double spacing[3], const pumit_volume *volume, pumit_context *context, int64_t channels, const int64_t patch[3], int64_t max_tokens);
/* 0.1 */ pumit_status pumit_write_png_sheet(const char *path, const pumit_tensor *images, int32_t columns);

#ifdef PUMIT_PIN
PUMIT_PIN(pumit_copy_args, src, 0, const void *)
PUMIT_PIN(pumit_copy_args, dst, 8, void *)
PUMIT_PIN(pumit_copy_args, src_dtype, 16, int32_t)
PUMIT_PIN(pumit_copy_args, dst_dtype, 20, int32_t)
PUMIT_PIN(pumit_copy_args, ndim, 24, int32_t)
PUMIT_PIN(pumit_copy_args, accumulate, 28, int32_t)
PUMIT_PIN(pumit_copy_args, shape, 32, int64_t [8])
PUMIT_PIN(pumit_copy_args, src_stride, 96, int64_t [8])
PUMIT_PIN(pumit_copy_args, dst_stride, 160, int64_t [8])
PUMIT_PIN(pumit_fill_args, dst, 0, void *)
PUMIT_PIN(pumit_fill_args, n, 8, int64_t)
PUMIT_PIN(pumit_fill_args, value, 16, double)
PUMIT_PIN(pumit_unary_args, src, 0, const void *)
PUMIT_PIN(pumit_unary_args, diff_dst, 8, const void *)
PUMIT_PIN(pumit_unary_args, dst, 16, void *)
PUMIT_PIN(pumit_unary_args, diff_src, 24, void *)
PUMIT_PIN(pumit_unary_args, n, 32, int64_t)
PUMIT_PIN(pumit_unary_args, alpha, 40, double)
PUMIT_PIN(pumit_unary_args, beta, 48, double)
PUMIT_PIN(pumit_unary_args, kind, 56, int32_t)
PUMIT_PIN(pumit_unary_args, reserved, 60, int32_t)
PUMIT_PIN(pumit_binary_args, a, 0, const void *)
PUMIT_PIN(pumit_binary_args, b, 8, const void *)
PUMIT_PIN(pumit_binary_args, dst, 16, void *)
PUMIT_PIN(pumit_binary_args, kind, 24, int32_t)
PUMIT_PIN(pumit_binary_args, ndim, 28, int32_t)
PUMIT_PIN(pumit_binary_args, shape, 32, int64_t [8])
PUMIT_PIN(pumit_binary_args, a_stride, 96, int64_t [8])
PUMIT_PIN(pumit_binary_args, b_stride, 160, int64_t [8])
PUMIT_PIN(pumit_reduce_args, src, 0, const void *)
PUMIT_PIN(pumit_reduce_args, dst, 8, void *)
PUMIT_PIN(pumit_reduce_args, alpha, 16, double)
PUMIT_PIN(pumit_reduce_args, ndim, 24, int32_t)
PUMIT_PIN(pumit_reduce_args, accumulate, 28, int32_t)
PUMIT_PIN(pumit_reduce_args, shape, 32, int64_t [8])
PUMIT_PIN(pumit_reduce_args, src_stride, 96, int64_t [8])
PUMIT_PIN(pumit_reduce_args, dst_stride, 160, int64_t [8])
PUMIT_PIN(pumit_matmul_args, a, 0, const void *)
PUMIT_PIN(pumit_matmul_args, b, 8, const void *)
PUMIT_PIN(pumit_matmul_args, bias, 16, const void *)
PUMIT_PIN(pumit_matmul_args, c, 24, void *)
PUMIT_PIN(pumit_matmul_args, batch, 32, int64_t)
PUMIT_PIN(pumit_matmul_args, m, 40, int64_t)
PUMIT_PIN(pumit_matmul_args, n, 48, int64_t)
PUMIT_PIN(pumit_matmul_args, k, 56, int64_t)
PUMIT_PIN(pumit_matmul_args, lda, 64, int64_t)
PUMIT_PIN(pumit_matmul_args, ldb, 72, int64_t)
PUMIT_PIN(pumit_matmul_args, ldc, 80, int64_t)
PUMIT_PIN(pumit_matmul_args, a_batch_stride, 88, int64_t)
PUMIT_PIN(pumit_matmul_args, b_batch_stride, 96, int64_t)
PUMIT_PIN(pumit_matmul_args, c_batch_stride, 104, int64_t)
PUMIT_PIN(pumit_matmul_args, alpha, 112, double)
PUMIT_PIN(pumit_matmul_args, beta, 120, double)
PUMIT_PIN(pumit_matmul_args, trans_a, 128, int32_t)
PUMIT_PIN(pumit_matmul_args, trans_b, 132, int32_t)
PUMIT_PIN(pumit_matmul_args, b_dtype, 136, int32_t)
PUMIT_PIN(pumit_matmul_args, reserved, 140, int32_t)
PUMIT_PIN(pumit_layer_norm_args, src, 0, const void *)
PUMIT_PIN(pumit_layer_norm_args, weight, 8, const void *)
PUMIT_PIN(pumit_layer_norm_args, bias, 16, const void *)
PUMIT_PIN(pumit_layer_norm_args, dst, 24, void *)
PUMIT_PIN(pumit_layer_norm_args, mean, 32, void *)
PUMIT_PIN(pumit_layer_norm_args, rstd, 40, void *)
PUMIT_PIN(pumit_layer_norm_args, diff_dst, 48, const void *)
PUMIT_PIN(pumit_layer_norm_args, diff_src, 56, void *)
PUMIT_PIN(pumit_layer_norm_args, diff_weight, 64, void *)
PUMIT_PIN(pumit_layer_norm_args, diff_bias, 72, void *)
PUMIT_PIN(pumit_layer_norm_args, rows, 80, int64_t)
PUMIT_PIN(pumit_layer_norm_args, channels, 88, int64_t)
PUMIT_PIN(pumit_layer_norm_args, eps, 96, double)
PUMIT_PIN(pumit_group_norm_args, src, 0, const void *)
PUMIT_PIN(pumit_group_norm_args, weight, 8, const void *)
PUMIT_PIN(pumit_group_norm_args, bias, 16, const void *)
PUMIT_PIN(pumit_group_norm_args, dst, 24, void *)
PUMIT_PIN(pumit_group_norm_args, mean, 32, void *)
PUMIT_PIN(pumit_group_norm_args, rstd, 40, void *)
PUMIT_PIN(pumit_group_norm_args, diff_dst, 48, const void *)
PUMIT_PIN(pumit_group_norm_args, diff_src, 56, void *)
PUMIT_PIN(pumit_group_norm_args, diff_weight, 64, void *)
PUMIT_PIN(pumit_group_norm_args, diff_bias, 72, void *)
PUMIT_PIN(pumit_group_norm_args, n, 80, int64_t)
PUMIT_PIN(pumit_group_norm_args, spatial, 88, int64_t)
PUMIT_PIN(pumit_group_norm_args, channels, 96, int64_t)
PUMIT_PIN(pumit_group_norm_args, groups, 104, int64_t)
PUMIT_PIN(pumit_group_norm_args, eps, 112, double)
PUMIT_PIN(pumit_softmax_args, src, 0, const void *)
PUMIT_PIN(pumit_softmax_args, diff_dst, 8, const void *)
PUMIT_PIN(pumit_softmax_args, dst, 16, void *)
PUMIT_PIN(pumit_softmax_args, diff_src, 24, void *)
PUMIT_PIN(pumit_softmax_args, rows, 32, int64_t)
PUMIT_PIN(pumit_softmax_args, channels, 40, int64_t)
PUMIT_PIN(pumit_entropy_args, src, 0, const void *)
PUMIT_PIN(pumit_entropy_args, diff_dst, 8, const void *)
PUMIT_PIN(pumit_entropy_args, dst, 16, void *)
PUMIT_PIN(pumit_entropy_args, diff_src, 24, void *)
PUMIT_PIN(pumit_entropy_args, rows, 32, int64_t)
PUMIT_PIN(pumit_entropy_args, channels, 40, int64_t)
PUMIT_PIN(pumit_cross_entropy_args, src, 0, const void *)
PUMIT_PIN(pumit_cross_entropy_args, target, 8, const void *)
PUMIT_PIN(pumit_cross_entropy_args, diff_dst, 16, const void *)
PUMIT_PIN(pumit_cross_entropy_args, dst, 24, void *)
PUMIT_PIN(pumit_cross_entropy_args, diff_src, 32, void *)
PUMIT_PIN(pumit_cross_entropy_args, rows, 40, int64_t)
PUMIT_PIN(pumit_cross_entropy_args, channels, 48, int64_t)
PUMIT_PIN(pumit_rope_args, src, 0, const void *)
PUMIT_PIN(pumit_rope_args, cosine, 8, const void *)
PUMIT_PIN(pumit_rope_args, sine, 16, const void *)
PUMIT_PIN(pumit_rope_args, dst, 24, void *)
PUMIT_PIN(pumit_rope_args, n, 32, int64_t)
PUMIT_PIN(pumit_rope_args, length, 40, int64_t)
PUMIT_PIN(pumit_rope_args, heads, 48, int64_t)
PUMIT_PIN(pumit_rope_args, head_dim, 56, int64_t)
PUMIT_PIN(pumit_rope_args, skip, 64, int64_t)
PUMIT_PIN(pumit_rope_args, angle_batch_stride, 72, int64_t)
PUMIT_PIN(pumit_rope_args, inverse, 80, int32_t)
PUMIT_PIN(pumit_rope_args, reserved, 84, int32_t)
PUMIT_PIN(pumit_rope_args, row, 88, int64_t)
PUMIT_PIN(pumit_attention_args, q, 0, const void *)
PUMIT_PIN(pumit_attention_args, k, 8, const void *)
PUMIT_PIN(pumit_attention_args, v, 16, const void *)
PUMIT_PIN(pumit_attention_args, dst, 24, void *)
PUMIT_PIN(pumit_attention_args, lse, 32, void *)
PUMIT_PIN(pumit_attention_args, diff_dst, 40, const void *)
PUMIT_PIN(pumit_attention_args, diff_q, 48, void *)
PUMIT_PIN(pumit_attention_args, diff_k, 56, void *)
PUMIT_PIN(pumit_attention_args, diff_v, 64, void *)
PUMIT_PIN(pumit_attention_args, n, 72, int64_t)
PUMIT_PIN(pumit_attention_args, length, 80, int64_t)
PUMIT_PIN(pumit_attention_args, heads, 88, int64_t)
PUMIT_PIN(pumit_attention_args, head_dim, 96, int64_t)
PUMIT_PIN(pumit_attention_args, scale, 104, double)
PUMIT_PIN(pumit_attention_args, offsets, 112, const int64_t *)
PUMIT_PIN(pumit_attention_args, row, 120, int64_t)
PUMIT_PIN(pumit_swiglu_args, gate, 0, const void *)
PUMIT_PIN(pumit_swiglu_args, value, 8, const void *)
PUMIT_PIN(pumit_swiglu_args, diff_dst, 16, const void *)
PUMIT_PIN(pumit_swiglu_args, dst, 24, void *)
PUMIT_PIN(pumit_swiglu_args, diff_gate, 32, void *)
PUMIT_PIN(pumit_swiglu_args, diff_value, 40, void *)
PUMIT_PIN(pumit_swiglu_args, n, 48, int64_t)
PUMIT_PIN(pumit_swiglu_args, channels, 56, int64_t)
PUMIT_PIN(pumit_swiglu_args, row, 64, int64_t)
PUMIT_PIN(pumit_conv_args, src, 0, const void *)
PUMIT_PIN(pumit_conv_args, weights, 8, const void *)
PUMIT_PIN(pumit_conv_args, bias, 16, const void *)
PUMIT_PIN(pumit_conv_args, diff_dst, 24, const void *)
PUMIT_PIN(pumit_conv_args, dst, 32, void *)
PUMIT_PIN(pumit_conv_args, diff_src, 40, void *)
PUMIT_PIN(pumit_conv_args, diff_weights, 48, void *)
PUMIT_PIN(pumit_conv_args, diff_bias, 56, void *)
PUMIT_PIN(pumit_conv_args, n, 64, int64_t)
PUMIT_PIN(pumit_conv_args, in_channels, 72, int64_t)
PUMIT_PIN(pumit_conv_args, out_channels, 80, int64_t)
PUMIT_PIN(pumit_conv_args, src_size, 88, int64_t [3])
PUMIT_PIN(pumit_conv_args, dst_size, 112, int64_t [3])
PUMIT_PIN(pumit_conv_args, kernel, 136, int64_t [3])
PUMIT_PIN(pumit_conv_args, stride, 160, int64_t [3])
PUMIT_PIN(pumit_conv_args, padding, 184, int64_t [3])
PUMIT_PIN(pumit_resample_args, src, 0, const void *)
PUMIT_PIN(pumit_resample_args, diff_dst, 8, const void *)
PUMIT_PIN(pumit_resample_args, dst, 16, void *)
PUMIT_PIN(pumit_resample_args, diff_src, 24, void *)
PUMIT_PIN(pumit_resample_args, n, 32, int64_t)
PUMIT_PIN(pumit_resample_args, channels, 40, int64_t)
PUMIT_PIN(pumit_resample_args, src_size, 48, int64_t [3])
PUMIT_PIN(pumit_resample_args, dst_size, 72, int64_t [3])
PUMIT_PIN(pumit_resample_args, kind, 96, int32_t)
PUMIT_PIN(pumit_resample_args, reserved, 100, int32_t)
PUMIT_PIN(pumit_rows_args, src, 0, const void *)
PUMIT_PIN(pumit_rows_args, index, 8, const int64_t *)
PUMIT_PIN(pumit_rows_args, dst, 16, void *)
PUMIT_PIN(pumit_rows_args, n, 24, int64_t)
PUMIT_PIN(pumit_rows_args, length, 32, int64_t)
PUMIT_PIN(pumit_rows_args, count, 40, int64_t)
PUMIT_PIN(pumit_rows_args, channels, 48, int64_t)
PUMIT_PIN(pumit_rows_args, accumulate, 56, int32_t)
PUMIT_PIN(pumit_rows_args, reserved, 60, int32_t)
PUMIT_PIN(pumit_sum_squares_args, src, 0, const void *)
PUMIT_PIN(pumit_sum_squares_args, dst, 8, void *)
PUMIT_PIN(pumit_sum_squares_args, n, 16, int64_t)
PUMIT_PIN(pumit_adamw_args, param, 0, void *)
PUMIT_PIN(pumit_adamw_args, exp_avg, 8, void *)
PUMIT_PIN(pumit_adamw_args, exp_avg_sq, 16, void *)
PUMIT_PIN(pumit_adamw_args, grad, 24, const void *)
PUMIT_PIN(pumit_adamw_args, n, 32, int64_t)
PUMIT_PIN(pumit_adamw_args, step, 40, int64_t)
PUMIT_PIN(pumit_adamw_args, lr, 48, double)
PUMIT_PIN(pumit_adamw_args, beta1, 56, double)
PUMIT_PIN(pumit_adamw_args, beta2, 64, double)
PUMIT_PIN(pumit_adamw_args, eps, 72, double)
PUMIT_PIN(pumit_adamw_args, weight_decay, 80, double)
PUMIT_PIN(pumit_adamw_args, grad_scale, 88, double)
PUMIT_PIN(pumit_argmax_args, src, 0, const void *)
PUMIT_PIN(pumit_argmax_args, dst, 8, int64_t *)
PUMIT_PIN(pumit_argmax_args, rows, 16, int64_t)
PUMIT_PIN(pumit_argmax_args, channels, 24, int64_t)
PUMIT_PIN(pumit_max_pool_args, src, 0, const void *)
PUMIT_PIN(pumit_max_pool_args, diff_dst, 8, const void *)
PUMIT_PIN(pumit_max_pool_args, dst, 16, void *)
PUMIT_PIN(pumit_max_pool_args, diff_src, 24, void *)
PUMIT_PIN(pumit_max_pool_args, n, 32, int64_t)
PUMIT_PIN(pumit_max_pool_args, channels, 40, int64_t)
PUMIT_PIN(pumit_max_pool_args, src_size, 48, int64_t [3])
PUMIT_PIN(pumit_max_pool_args, dst_size, 72, int64_t [3])
PUMIT_PIN(pumit_max_pool_args, window, 96, int64_t [3])
PUMIT_PIN(pumit_backend, struct_size, 0, uint32_t)
PUMIT_PIN(pumit_backend, abi_version, 4, int32_t)
PUMIT_PIN(pumit_backend, name, 8, const char *)
PUMIT_PIN(pumit_backend, real_dtype, 16, int32_t)
PUMIT_PIN(pumit_backend, host_memory, 20, int32_t)
PUMIT_PIN(pumit_backend, open, 24, pumit_status (*)(void **device, int32_t index, int32_t threads))
PUMIT_PIN(pumit_backend, close, 32, void (*)(void *device))
PUMIT_PIN(pumit_backend, allocate, 40, void *(*)(void *device, int64_t bytes))
PUMIT_PIN(pumit_backend, deallocate, 48, void (*)(void *device, void *memory))
PUMIT_PIN(pumit_backend, upload, 56, pumit_status (*)(void *device, void *dst, const void *src, int64_t bytes))
PUMIT_PIN(pumit_backend, download, 64, pumit_status (*)(void *device, void *dst, const void *src, int64_t bytes))
PUMIT_PIN(pumit_backend, synchronize, 72, pumit_status (*)(void *device))
PUMIT_PIN(pumit_backend, copy, 80, pumit_status (*)(void *device, const pumit_copy_args *args))
PUMIT_PIN(pumit_backend, fill, 88, pumit_status (*)(void *device, const pumit_fill_args *args))
PUMIT_PIN(pumit_backend, unary_forward, 96, pumit_status (*)(void *device, const pumit_unary_args *args))
PUMIT_PIN(pumit_backend, unary_backward, 104, pumit_status (*)(void *device, const pumit_unary_args *args))
PUMIT_PIN(pumit_backend, binary, 112, pumit_status (*)(void *device, const pumit_binary_args *args))
PUMIT_PIN(pumit_backend, reduce_sum, 120, pumit_status (*)(void *device, const pumit_reduce_args *args))
PUMIT_PIN(pumit_backend, matmul, 128, pumit_status (*)(void *device, const pumit_matmul_args *args))
PUMIT_PIN(pumit_backend, layer_norm_forward, 136, pumit_status (*)(void *device, const pumit_layer_norm_args *args))
PUMIT_PIN(pumit_backend, layer_norm_backward, 144, pumit_status (*)(void *device, const pumit_layer_norm_args *args))
PUMIT_PIN(pumit_backend, group_norm_forward, 152, pumit_status (*)(void *device, const pumit_group_norm_args *args))
PUMIT_PIN(pumit_backend, group_norm_backward, 160, pumit_status (*)(void *device, const pumit_group_norm_args *args))
PUMIT_PIN(pumit_backend, softmax_forward, 168, pumit_status (*)(void *device, const pumit_softmax_args *args))
PUMIT_PIN(pumit_backend, softmax_backward, 176, pumit_status (*)(void *device, const pumit_softmax_args *args))
PUMIT_PIN(pumit_backend, entropy_forward, 184, pumit_status (*)(void *device, const pumit_entropy_args *args))
PUMIT_PIN(pumit_backend, entropy_backward, 192, pumit_status (*)(void *device, const pumit_entropy_args *args))
PUMIT_PIN(pumit_backend, cross_entropy_forward, 200, pumit_status (*)(void *device, const pumit_cross_entropy_args *args))
PUMIT_PIN(pumit_backend, cross_entropy_backward, 208, pumit_status (*)(void *device, const pumit_cross_entropy_args *args))
PUMIT_PIN(pumit_backend, rope, 216, pumit_status (*)(void *device, const pumit_rope_args *args))
PUMIT_PIN(pumit_backend, attention_forward, 224, pumit_status (*)(void *device, const pumit_attention_args *args))
PUMIT_PIN(pumit_backend, attention_backward, 232, pumit_status (*)(void *device, const pumit_attention_args *args))
PUMIT_PIN(pumit_backend, swiglu_forward, 240, pumit_status (*)(void *device, const pumit_swiglu_args *args))
PUMIT_PIN(pumit_backend, swiglu_backward, 248, pumit_status (*)(void *device, const pumit_swiglu_args *args))
PUMIT_PIN(pumit_backend, conv_forward, 256, pumit_status (*)(void *device, const pumit_conv_args *args))
PUMIT_PIN(pumit_backend, conv_backward_data, 264, pumit_status (*)(void *device, const pumit_conv_args *args))
PUMIT_PIN(pumit_backend, conv_backward_weights, 272, pumit_status (*)(void *device, const pumit_conv_args *args))
PUMIT_PIN(pumit_backend, resample_forward, 280, pumit_status (*)(void *device, const pumit_resample_args *args))
PUMIT_PIN(pumit_backend, resample_backward, 288, pumit_status (*)(void *device, const pumit_resample_args *args))
PUMIT_PIN(pumit_backend, gather_rows, 296, pumit_status (*)(void *device, const pumit_rows_args *args))
PUMIT_PIN(pumit_backend, scatter_rows, 304, pumit_status (*)(void *device, const pumit_rows_args *args))
PUMIT_PIN(pumit_backend, sum_squares, 312, pumit_status (*)(void *device, const pumit_sum_squares_args *args))
PUMIT_PIN(pumit_backend, adamw, 320, pumit_status (*)(void *device, const pumit_adamw_args *args))
PUMIT_PIN(pumit_backend, argmax, 328, pumit_status (*)(void *device, const pumit_argmax_args *args))
PUMIT_PIN(pumit_backend, max_pool_forward, 336, pumit_status (*)(void *device, const pumit_max_pool_args *args))
PUMIT_PIN(pumit_backend, max_pool_backward, 344, pumit_status (*)(void *device, const pumit_max_pool_args *args))
#endif
