/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations, contexts, tensors, scores. */
#include "tests/sweep.h"

#include <string.h>

static const char TREE[] =
    "{\"a\": {\"b\": [1, \"x\"], \"s\": \"text\"}, \"c\": 0.1, \"n\": [1, 2]}";

void sweep_base_files(void)
{
    files_write("tree.json", TREE, strlen(TREE));
}

static const char *config_path(void)
{
    return files_path("tree.json");
}

/* ------------------------------------------------------------------------------------ configurations */

static void open_config(sweep_scene *s)
{
    s->in.config = sweep_config(TREE);
    s->in.over = sweep_config("{\"a\": {\"b\": {\"deep\": [1, [2]]}, \"new\": \"text\"}}");
}

static double the_config(sweep_scene *s)
{
    char *text;
    CHECK_OK(pumit_config_to_json(&text, s->in.config));
    double sum = 0;
    for (const char *c = text; *c; c++) sum = sum * 1.01 + *c;
    pumit_free(text);
    return sum;
}

static pumit_status get_bool(sweep_scene *s)
{
    int32_t value = 0;
    const pumit_status status = pumit_config_get_bool(&value, s->in.config, "a.absent", 1);
    s->number[0] = value;
    return status;
}

static pumit_status get_int(sweep_scene *s)
{
    int64_t value = 0;
    const pumit_status status = pumit_config_get_int(&value, s->in.config, "absent", 7);
    s->number[0] = (double)value;
    return status;
}

static pumit_status get_string(sweep_scene *s)
{
    const char *value = NULL;
    const pumit_status status = pumit_config_get_string(&value, s->in.config, "a.s", NULL);
    if (status == PUMIT_OK) s->number[0] = (double)strlen(value);
    return status;
}

static pumit_status get_ints(sweep_scene *s)
{
    int64_t values[4] = {0};
    int32_t count = 0;
    const pumit_status status = pumit_config_get_ints(values, 4, &count, s->in.config, "n");
    s->number[0] = count;
    s->number[1] = (double)values[1];
    return status;
}

SWEEP_CALL(config_create, pumit_config_create(&s->out.config))
SWEEP_CALL(config_parse, pumit_config_parse(&s->out.config, TREE))
SWEEP_CALL(config_read, pumit_config_read(&s->out.config, config_path()))
SWEEP_CALL(set_int, pumit_config_set_int(s->in.config, "a.d.e", 2))
SWEEP_CALL(set_double, pumit_config_set_double(s->in.config, "a.d.e", 2.5))
SWEEP_CALL(set_bool, pumit_config_set_bool(s->in.config, "a.b", 1))
SWEEP_CALL(set_string, pumit_config_set_string(s->in.config, "a.b", "a text"))
SWEEP_CALL(set_json, pumit_config_set_json(s->in.config, "x.y", "{\"z\": [1, [2, \"t\"]]}"))
SWEEP_CALL(set_word, pumit_config_set_json(s->in.config, "x.y", "word"))
SWEEP_CALL(get_double, pumit_config_get_double(s->number, s->in.config, "c", 2))
SWEEP_CALL(get_section, pumit_config_get_section(&s->out.config, s->in.config, "a"))
SWEEP_CALL(merge, pumit_config_merge(s->in.config, s->in.over))
SWEEP_CALL(to_json, pumit_config_to_json(&s->text, s->in.config))

/* --------------------------------------------------------------------------------- contexts, tensors */

static pumit_status context_create(sweep_scene *s)
{
    return pumit_context_create(&s->out.ctx, s->in.config);
}

static void open_threads(sweep_scene *s)
{
    s->in.config = sweep_config("{\"threads\": 1, \"device\": \"cpu\"}");
}

static pumit_status context_memory(sweep_scene *s)
{
    int64_t in_use, peak, asked;
    return pumit_context_memory(s->in.ctx, &in_use, &peak, &asked);
}

static void open_tensor(sweep_scene *s)
{
    sweep_context(s);
    s->in.image = sweep_image(s, 2, 3, 4, 1);
}

static const int64_t SHAPE[2] = {3, 2};
static const float VALUES[6] = {1, 2, 3, 4, 5, 6};

static pumit_status tensor_data(sweep_scene *s)
{
    void *data;
    return pumit_tensor_data(&data, s->in.image);
}

static pumit_status tensor_read(sweep_scene *s)
{
    double values[24] = {0};
    const pumit_status status = pumit_tensor_read(s->in.image, PUMIT_F64, values, sizeof values);
    for (int i = 0; i < 24; i++) s->number[i % 8] += values[i];
    return status;
}

static pumit_status tensor_write(sweep_scene *s)
{
    double values[24] = {1, 2, 3};
    return pumit_tensor_write(s->in.image, PUMIT_F64, values, sizeof values);
}

static void open_scalar(sweep_scene *s)
{
    sweep_context(s);
    s->in.image = sweep_image(s, 1, 1, 1, 1);
}

SWEEP_CALL(tensor_create, pumit_tensor_create(&s->out.image, s->in.ctx, PUMIT_F32, 2, SHAPE))
SWEEP_CALL(tensor_from_data,
           pumit_tensor_from_data(&s->out.image, s->in.ctx, PUMIT_F32, 2, SHAPE, VALUES))
SWEEP_CALL(tensor_item, pumit_tensor_item(s->number, s->in.image))
SWEEP_CALL(requires_grad, pumit_tensor_set_requires_grad(s->in.image, 1))

/* A loss through a convolution, with its gradient walked or not. */
static void open_loss(sweep_scene *s)
{
    sweep_context(s);
    pumit_config *config =
        sweep_config("{\"in_channels\": 1, \"out_channels\": 1, \"kernel\": 2, \"stride\": 2}");
    CHECK_OK(pumit_sac_conv_create(&s->in.sac, s->in.ctx, config));
    pumit_config_release(config);
    s->in.image = sweep_image(s, 2, 2, 2, 1);
    pumit_context_set_recording(s->in.ctx, 1);
    CHECK_OK(pumit_sac_conv_forward(&s->in.image2, NULL, NULL, s->in.sac, s->in.image,
                                    SWEEP_SPACING, 0));
    pumit_context_set_recording(s->in.ctx, 0);
    s->in.visible =
        pumit_tensor_retain(pumit_module_parameter(pumit_sac_conv_module(s->in.sac), 0));
}

static void open_walked(sweep_scene *s)
{
    open_loss(s);
    CHECK_OK(pumit_tensor_backward(s->in.image2));
}

SWEEP_CALL(backward, pumit_tensor_backward(s->in.image2))
SWEEP_CALL(grad, pumit_tensor_grad(&s->out.image, s->in.visible))

typedef struct managed {
    struct {
        void *data;
        int32_t device[2], ndim;
        uint32_t dtype;
        int64_t *shape, *strides;
        uint64_t byte_offset;
    } tensor;
    void *manager;
    void (*deleter)(struct managed *self);
} managed;

void sweep_drop_managed(void *memory)
{
    managed *m = memory;
    m->deleter(m);
}

static void open_managed(sweep_scene *s)
{
    open_tensor(s);
    CHECK_OK(pumit_tensor_to_dlpack(&s->in.managed, s->in.image));
}

static pumit_status from_dlpack(sweep_scene *s)
{
    const pumit_status status = pumit_tensor_from_dlpack(&s->out.image, s->in.ctx, s->in.managed);
    if (status == PUMIT_OK) s->in.managed = NULL; /* it is the tensor's now */
    return status;
}

SWEEP_CALL(to_dlpack, pumit_tensor_to_dlpack(&s->out.managed, s->in.image))

/* -------------------------------------------------------------------------------------------- scores */

static const double PROBABILITIES[12] = {.9, .1, .2, .8, .6, .4, .3, .7, .55, .45, .1, .9};
static const int64_t LABELS[6] = {0, 1, 1, 1, 0, 0};

SWEEP_CALL(scores, pumit_classification_scores(s->number, s->number + 1, PUMIT_TASK_CLASSES, 6, 2,
                                               PROBABILITIES, LABELS))
SWEEP_CALL(report, pumit_classification_report(&s->text, PUMIT_TASK_CLASSES, 6, 2, PROBABILITIES,
                                               LABELS, s->in.config))
SWEEP_CALL(report_of_labels, pumit_classification_report(&s->text, PUMIT_TASK_LABELS, 3, 2,
                                                         PROBABILITIES, LABELS, s->in.config))

static void open_bootstrap(sweep_scene *s)
{
    s->in.config = sweep_config("{\"bootstrap\": 5, \"tolerance_mm\": 1,"
                                " \"class_names\": [\"none\", \"one\", \"two\"]}");
}

static pumit_label_map *make_map(sweep_scene *s, int shift)
{
    uint8_t labels[8 * 16 * 16];
    for (int i = 0; i < 8 * 16 * 16; i++) labels[i] = (uint8_t)((i / 16 + shift) % 16 / 6);
    pumit_label_map *map;
    CHECK_OK(pumit_label_map_create(&map, s->in.ctx, s->in.volume, labels));
    return map;
}

static pumit_label_map *second_map; /* lives as long as the test */

static void open_maps(sweep_scene *s)
{
    sweep_context(s);
    s->in.volume = sweep_volume(s);
    s->in.map = make_map(s, 0);
    open_bootstrap(s);
    if (!second_map) second_map = make_map(s, 1);
}

static void open_report(sweep_scene *s)
{
    open_maps(s);
    CHECK_OK(pumit_segmentation_report_create(&s->in.report, s->in.config));
}

static void open_full_report(sweep_scene *s)
{
    open_report(s);
    CHECK_OK(pumit_segmentation_report_add(s->in.report, "one", s->in.map, second_map));
    CHECK_OK(pumit_segmentation_report_add(s->in.report, "two", s->in.map, s->in.map));
}

static double the_report(sweep_scene *s)
{
    char *text;
    CHECK_OK(pumit_segmentation_report_to_json(&text, s->in.report));
    double sum = 0;
    for (const char *c = text; *c; c++) sum = sum * 1.01 + *c;
    pumit_free(text);
    return sum;
}

static pumit_status map_scores(sweep_scene *s)
{
    double dice[3], far[3], near[3];
    const pumit_status status =
        pumit_segmentation_scores(dice, far, near, 3, s->in.map, second_map, 1);
    if (status == PUMIT_OK) s->number[0] = dice[1], s->number[1] = far[1], s->number[2] = near[2];
    return status;
}

SWEEP_CALL(report_create, pumit_segmentation_report_create(&s->out.report, s->in.config))
SWEEP_CALL(report_add, pumit_segmentation_report_add(s->in.report, "case", s->in.map, second_map))
SWEEP_CALL(report_to_json, pumit_segmentation_report_to_json(&s->text, s->in.report))

static pumit_status anisotropy(sweep_scene *s)
{
    int32_t da = 0;
    const pumit_status status = pumit_degree_of_anisotropy(&da, (const double[3]){4, 1, 1});
    s->number[0] = da;
    return status;
}

const sweep_entry sweep_base[] = {
    SWEEP(pumit_config_create, NULL, config_create),
    SWEEP(pumit_config_parse, NULL, config_parse),
    SWEEP(pumit_config_read, NULL, config_read),
    SWEEP(pumit_config_set_int, open_config, set_int, .result = the_config),
    SWEEP(pumit_config_set_double, open_config, set_double, .result = the_config),
    SWEEP(pumit_config_set_bool, open_config, set_bool, .result = the_config),
    SWEEP(pumit_config_set_string, open_config, set_string, .result = the_config),
    SWEEP(pumit_config_set_json, open_config, set_json, .result = the_config),
    SWEEP_OF(pumit_config_set_json, " of a word", open_config, set_word, .result = the_config),
    SWEEP(pumit_config_get_int, open_config, get_int),
    SWEEP(pumit_config_get_double, open_config, get_double),
    SWEEP(pumit_config_get_bool, open_config, get_bool),
    SWEEP(pumit_config_get_string, open_config, get_string),
    SWEEP(pumit_config_get_ints, open_config, get_ints),
    SWEEP(pumit_config_get_section, open_config, get_section),
    SWEEP(pumit_config_merge, open_config, merge, .result = the_config),
    SWEEP(pumit_config_to_json, open_config, to_json),
    SWEEP(pumit_context_create, open_threads, context_create),
    SWEEP(pumit_context_memory, sweep_context, context_memory),
    SWEEP(pumit_tensor_create, sweep_context, tensor_create),
    SWEEP(pumit_tensor_from_data, sweep_context, tensor_from_data),
    SWEEP(pumit_tensor_data, open_tensor, tensor_data),
    SWEEP(pumit_tensor_read, open_tensor, tensor_read),
    SWEEP(pumit_tensor_write, open_tensor, tensor_write),
    SWEEP(pumit_tensor_item, open_scalar, tensor_item),
    SWEEP(pumit_tensor_set_requires_grad, open_tensor, requires_grad),
    SWEEP(pumit_tensor_backward, open_loss, backward, .spends = true),
    SWEEP(pumit_tensor_grad, open_walked, grad),
    SWEEP(pumit_tensor_to_dlpack, open_tensor, to_dlpack),
    SWEEP(pumit_tensor_from_dlpack, open_managed, from_dlpack),
    SWEEP(pumit_classification_scores, NULL, scores),
    SWEEP(pumit_classification_report, open_bootstrap, report),
    SWEEP_OF(pumit_classification_report, " of labels", open_bootstrap, report_of_labels),
    SWEEP(pumit_segmentation_scores, open_maps, map_scores),
    SWEEP(pumit_segmentation_report_create, open_bootstrap, report_create),
    SWEEP(pumit_segmentation_report_add, open_report, report_add, .result = the_report),
    SWEEP(pumit_segmentation_report_to_json, open_full_report, report_to_json),
    SWEEP(pumit_degree_of_anisotropy, NULL, anisotropy),
};
const int sweep_base_count = sizeof sweep_base / sizeof *sweep_base;
