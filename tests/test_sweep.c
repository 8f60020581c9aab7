/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every public call that can fail, with its n-th allocation failing, alone and with all that follow: a status that says so, nothing
 * lost, nothing half-written, and the same call made again gives what it gives without failures. PUMIT_SWEEP=full: for all n until
 * it succeeds; else for some. PUMIT_SWEEP_LOG: a file that gets a line a call.
 */
#include "lib/base/base.h"
#include "tests/faults.h"
#include "tests/sweep.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const sweep_entry *tables[8];
static void (*files_of[8])(void);
static int table_of[512], index_in[512], entries;

/* ------------------------------------------------------------------------------------ for the tables */

pumit_config *sweep_config(const char *json)
{
    pumit_config *config;
    CHECK_OK(pumit_config_parse(&config, json));
    return config;
}

void sweep_context(sweep_scene *s)
{
    pumit_config *options = sweep_config("{\"threads\": 1}");
    CHECK_OK(pumit_context_create(&s->in.ctx, options));
    pumit_config_release(options);
}

pumit_tensor *sweep_image(sweep_scene *s, int64_t d, int64_t h, int64_t w, int64_t channels)
{
    const int64_t shape[5] = {1, d, h, w, channels};
    pumit_tensor *image;
    void *data;
    CHECK_OK(pumit_tensor_create(&image, s->in.ctx, PUMIT_F32, 5, shape));
    CHECK_OK(pumit_tensor_data(&data, image));
    for (int64_t i = 0; i < pumit_tensor_count(image); i++)
        ((float *)data)[i] = (float)pumit__random_uniform(5, 1, (uint64_t)i);
    return image;
}

pumit_volume *sweep_volume(sweep_scene *s)
{
    static const double affine[16] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    static const int64_t size[3] = {8, 16, 16};
    float voxels[8 * 16 * 16];
    for (int i = 0; i < 8 * 16 * 16; i++)
        voxels[i] = (float)pumit__random_uniform(5, 2, (uint64_t)i);
    pumit_volume *volume;
    CHECK_OK(pumit_volume_create(&volume, s->in.ctx, PUMIT_F32, size, 1, voxels, affine));
    return volume;
}

static double sum_bytes(const void *data, size_t bytes)
{
    uint64_t sum = bytes;
    for (size_t i = 0; i < bytes; i++)
        sum = (sum ^ ((const uint8_t *)data)[i]) * 0x100000001b3u >> 1;
    return (double)(sum >> 12);
}

double sweep_file(const char *name)
{
    if (access(files_path(name), F_OK) != 0) return 0;
    size_t bytes;
    uint8_t *data = files_read(name, &bytes);
    const double sum = sum_bytes(data, bytes);
    free(data);
    return sum;
}

/* --------------------------------------------------------------------------------------- what it gave */

static double of_tensor(const pumit_tensor *tensor)
{
    const int64_t count = pumit_tensor_count(tensor);
    double *values = malloc((size_t)(count + 1) * sizeof *values);
    ck_assert_ptr_nonnull(values);
    CHECK_OK(pumit_tensor_read(tensor, PUMIT_F64, values, count * (int64_t)sizeof *values));
    const double sum = sum_bytes(values, (size_t)count * sizeof *values);
    free(values);
    return sum;
}

static double of_module(const pumit_module *module)
{
    double sum = 0;
    for (int64_t i = 0; i < pumit_module_parameter_count(module); i++)
        sum += of_tensor(pumit_module_parameter(module, i)) / (double)(i + 1);
    return sum;
}

static double of_config(const pumit_config *config)
{
    char *text;
    CHECK_OK(pumit_config_to_json(&text, config));
    const double sum = sum_bytes(text, strlen(text));
    pumit_free(text);
    return sum;
}

static double of_volume(const pumit_volume *volume)
{
    int64_t n[4];
    pumit_volume_shape(volume, n);
    const float *voxels = pumit_volume_voxels(volume);
    ck_assert_msg(voxels != NULL, "%s", pumit_last_error());
    return sum_bytes(voxels, (size_t)(n[0] * n[1] * n[2] * n[3]) * sizeof *voxels);
}

static double of_map(const pumit_label_map *map)
{
    int64_t n[3];
    pumit_label_map_shape(map, n);
    return sum_bytes(pumit_label_map_labels(map), (size_t)(n[0] * n[1] * n[2]));
}

static double of_dataset(const pumit_dataset *dataset)
{
    double sum = 0;
    for (int64_t i = 0; i < pumit_dataset_count(dataset); i++)
        sum += of_volume(pumit_dataset_volume(dataset, i)) / (double)(i + 1) +
               (double)pumit_dataset_label(dataset, i);
    return sum + (double)pumit_dataset_skipped(dataset);
}

/* Everything that a call may give, its type and what it is as a number. */
/* clang-format off */
#define THINGS(_) \
    _(config, of_config(x)) \
    _(over, of_config(x)) \
    _(image, of_tensor(x)) \
    _(image2, of_tensor(x)) \
    _(visible, of_tensor(x)) \
    _(volume, of_volume(x)) \
    _(map, of_map(x)) \
    _(dataset, of_dataset(x)) \
    _(validation, of_dataset(x)) \
    _(tokenizer, of_module(pumit_tokenizer_module(x))) \
    _(vit, of_module(pumit_vit_module(x))) \
    _(classifier, of_module(pumit_classifier_module(x))) \
    _(segmenter, of_module(pumit_segmenter_module(x))) \
    _(discriminator, of_module(pumit_discriminator_module(x))) \
    _(lpips, of_module(pumit_lpips_module(x))) \
    _(sac, of_module(pumit_sac_conv_module(x))) \
    _(ctx, (double)pumit_context_threads(x))
/* clang-format on */

static double fingerprint(sweep_scene *s, const sweep_entry *e)
{
    double sum = 0;
#define ADD(name, value)                                                                           \
    if (s->out.name) {                                                                             \
        __typeof__(s->out.name) x = s->out.name;                                                   \
        sum = sum * 3 + (value);                                                                   \
    }
    THINGS(ADD)
#undef ADD
    if (s->text) sum = sum * 3 + sum_bytes(s->text, strlen(s->text));
    for (int i = 0; i < 8; i++) sum += s->number[i] * (i + 1);
    return e->result ? sum * 3 + e->result(s) : sum;
}

static bool gave_nothing(const sweep_scene *s)
{
    static const sweep_things nothing;
    return !s->text && memcmp(&s->out, &nothing, sizeof nothing) == 0;
}

static void release_things(sweep_things *t)
{
    pumit_trainer_release(t->trainer);
    pumit_segmentation_report_release(t->report);
    pumit_optimizer_release(t->optimizer);
    pumit_sac_conv_release(t->sac);
    pumit_lpips_release(t->lpips);
    pumit_discriminator_release(t->discriminator);
    pumit_segmenter_release(t->segmenter);
    pumit_classifier_release(t->classifier);
    pumit_vit_release(t->vit);
    pumit_tokenizer_release(t->tokenizer);
    pumit_dataset_release(t->validation);
    pumit_dataset_release(t->dataset);
    pumit_label_map_release(t->map);
    pumit_volume_release(t->volume);
    if (t->managed) sweep_drop_managed(t->managed);
    pumit_tensor_release(t->visible);
    pumit_tensor_release(t->image2);
    pumit_tensor_release(t->image);
    pumit_config_release(t->over);
    pumit_config_release(t->config);
    pumit_context_release(t->ctx);
    *t = (sweep_things){0};
}

static void release_outputs(sweep_scene *s)
{
    release_things(&s->out);
    pumit_free(s->text);
    s->text = NULL;
    memset(s->number, 0, sizeof s->number);
}

/* -------------------------------------------------------------------------------------------- folder */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static void empty_out(void)
{
    nftw(files_path("out"), remove_one, 16, FTW_DEPTH | FTW_PHYS);
    files_folder("out");
}

/* Names in the folder "out"; `begun`: of temporary files alone. */
static int names_in_out(bool begun)
{
    DIR *const listing = opendir(files_path("out"));
    ck_assert_ptr_nonnull(listing);
    int count = 0;
    for (const struct dirent *item; (item = readdir(listing));)
        count += item->d_name[0] != '.' && (!begun || strstr(item->d_name, ".tmp"));
    closedir(listing);
    return count;
}

/* --------------------------------------------------------------------------------------------- sweep */

typedef struct {
    const sweep_entry *entry;
    double wanted;
    int64_t allocations, calls, failed, survived, interrupted;
} sweep;

static void open_scene(sweep_scene *s, const sweep_entry *e)
{
    *s = (sweep_scene){0};
    empty_out();
    if (e->open) e->open(s);
}

static bool is_out_of_memory(pumit_status status)
{
    return status == PUMIT_ERROR_OUT_OF_MEMORY || strstr(pumit_last_error(), "annot allocate") ||
           strstr(pumit_last_error(), "out of memory");
}

static void check_failure(sweep *w, const sweep_scene *s, pumit_status status, int64_t n)
{
    const sweep_entry *e = w->entry;
    ck_assert_msg(is_out_of_memory(status), "%s%s, allocation %lld: %s, %s", e->name, e->variant,
                  (long long)n, pumit_status_name(status), pumit_last_error());
    ck_assert_msg(gave_nothing(s), "%s%s, allocation %lld: it failed and gave something", e->name,
                  e->variant, (long long)n);
    ck_assert_msg(names_in_out(e->restart) == 0, "%s%s, allocation %lld: it failed and left a file",
                  e->name, e->variant, (long long)n);
}

/* True if the call had that many allocations. */
static bool fail_at(sweep *w, int64_t n, bool all)
{
    const sweep_entry *e = w->entry;
    const int64_t live = faults_live(), next = faults_next();
    sweep_scene s;
    open_scene(&s, e);
    faults_arm(n, all);
    pumit_status status = e->call(&s);
    const bool reached = faults_disarm() >= n;
    w->calls++;
    if (status != PUMIT_OK) {
        check_failure(w, &s, status, n);
        w->failed++;
        status = e->call(&s);
        ck_assert_msg(status == PUMIT_OK || (e->spends && status == PUMIT_ERROR_STATE),
                      "%s%s, again after allocation %lld: %s, %s", e->name, e->variant,
                      (long long)n, pumit_status_name(status), pumit_last_error());
    } else {
        w->survived += reached;
    }
    if (status == PUMIT_OK) {
        const double got = fingerprint(&s, e);
        ck_assert_msg(got == w->wanted, "%s%s, allocation %lld: another result, %.17g, not %.17g",
                      e->name, e->variant, (long long)n, got, w->wanted);
    }
    release_outputs(&s);
    release_things(&s.in);
    uint64_t bytes = 0;
    ck_assert_msg(
        faults_live() == live,
        "%s%s, allocation %lld: %lld blocks are lost, the first block number %lld, %llu bytes",
        e->name, e->variant, (long long)n, (long long)(faults_live() - live),
        (long long)(faults_oldest(next, &bytes) - next), (unsigned long long)bytes);
    return reached;
}

/* Without failures, twice: what stays for the process' life is there after the first time. */
static void measure(sweep *w)
{
    for (int i = 0; i < 2; i++) {
        sweep_scene s;
        open_scene(&s, w->entry);
        faults_arm(0, false);
        const pumit_status status = w->entry->call(&s);
        w->allocations = faults_disarm();
        ck_assert_msg(status == PUMIT_OK, "%s%s: %s", w->entry->name, w->entry->variant,
                      pumit_last_error());
        w->wanted = fingerprint(&s, w->entry);
        ck_assert(isfinite(w->wanted));
        release_outputs(&s);
        release_things(&s.in);
    }
}

/* ----------------------------------------------------------------------------------------------- I/O */

static const char *const KINDS[] = {"short", "EINTR", "EIO", "ENOSPC"};

/* True if there were that many calls. What is named on failure: the file. */
static bool break_io(sweep *w, faults_kind kind, int64_t n)
{
    const sweep_entry *e = w->entry;
    const int64_t live = faults_live();
    sweep_scene s;
    open_scene(&s, e);
    faults_io_arm(kind, n);
    pumit_status status = e->call(&s);
    const bool reached = faults_io_disarm() >= n;
    bool compared = !(reached && e->skips);
    w->calls++;
#define AT    "%s%s, %s of call %lld, %s: "
#define WHERE e->name, e->variant, KINDS[kind], (long long)n, faults_io_last()
    if (status != PUMIT_OK) {
        ck_assert_msg(kind != FAULT_SHORT, AT "%s", WHERE, pumit_last_error());
        ck_assert_msg(strchr(pumit_last_error(), '/'), AT "no file is named: %s", WHERE,
                      pumit_last_error());
        ck_assert_msg(gave_nothing(&s), AT "it failed and gave something", WHERE);
        ck_assert_msg(e->restart || names_in_out(false) == 0, AT "it failed and left a file",
                      WHERE);
        w->interrupted += kind == FAULT_EINTR;
        w->failed++;
        compared = true;
        status = e->call(&s);
        ck_assert_msg(status == PUMIT_OK || (e->spends && status == PUMIT_ERROR_STATE),
                      AT "again: %s", WHERE, pumit_last_error());
    } else {
        w->survived += reached;
    }
    if (status == PUMIT_OK && compared) {
        const double got = fingerprint(&s, e);
        ck_assert_msg(got == w->wanted, AT "another result, %.17g, not %.17g", WHERE, got,
                      w->wanted);
    }
    release_outputs(&s);
    release_things(&s.in);
    ck_assert_msg(faults_live() == live, AT "%lld blocks are lost", WHERE,
                  (long long)(faults_live() - live));
    return reached;
}

static void note_figures(const sweep *w, const char *what)
{
    const char *path = getenv("PUMIT_SWEEP_LOG");
    FILE *log = path ? fopen(path, "a") : NULL;
    if (!log) return;
    fprintf(log, "%s %s%s calls %lld failed %lld survived %lld interrupted %lld\n", what,
            w->entry->name, w->entry->variant, (long long)w->calls, (long long)w->failed,
            (long long)w->survived, (long long)w->interrupted);
    fclose(log);
}

static void setup(void)
{
    files_setup();
    files_folder("out");
    faults_watch();
}

START_TEST(every_allocation_fails)
{
    enum { SOME = 12 };
    const sweep_entry *e = &tables[table_of[_i]][index_in[_i]];
    const char *said = getenv("PUMIT_SWEEP"), *only = getenv("PUMIT_SWEEP_ONLY");
    if (only && strncmp(e->name, only, strlen(only)) != 0) return;
    const bool full = said && strcmp(said, "full") == 0;
    files_of[table_of[_i]]();
    sweep w = {.entry = e};
    measure(&w);
    int64_t step = full ? (e->coarse ? e->coarse : 1) : w.allocations / SOME + 1;
    /* Threads may take memory in another order, so the last one is the first that is not reached. */
    for (int64_t n = 1;; n += step) {
        const bool reached = fail_at(&w, n, false);
        if (full || n % 2) fail_at(&w, n, true);
        if (!reached) break;
    }
    ck_assert_msg(w.failed > 0 || w.allocations == 0, "%s%s: nothing failed", e->name, e->variant);
    note_figures(&w, "memory");
}
END_TEST

START_TEST(every_call_of_the_system_fails)
{
    const sweep_entry *e = &tables[table_of[_i]][index_in[_i]];
    const char *said = getenv("PUMIT_SWEEP"), *only = getenv("PUMIT_SWEEP_ONLY");
    if (only && strncmp(e->name, only, strlen(only)) != 0) return;
    const bool full = said && strcmp(said, "full") == 0;
    files_of[table_of[_i]]();
    sweep w = {.entry = e};
    measure(&w);
    for (int kind = 0; kind < FAULT_KINDS; kind++)
        for (int64_t n = 1; break_io(&w, kind, n); n += full ? 1 : 1 + n / 4) continue;
    note_figures(&w, "system");
}
END_TEST

/* ------------------------------------------------------------------------------------------ complete */

static bool is_swept(const char *name)
{
    for (int i = 0; i < entries; i++)
        if (strcmp(tables[table_of[i]][index_in[i]].name, name) == 0) return true;
    return false;
}

/* What gives no status cannot say that memory is out, and takes none; pumit_volume_voxels(), which can, has an entry, too. */
START_TEST(every_call_that_can_fail_is_swept)
{
    char path[512], line[1024], name[128];
    const char *source = getenv("PUMIT_SOURCE");
    snprintf(path, sizeof path, "%s/tests/abi/interface.h", source ? source : ".");
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s", path);
    int calls = 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "/* %*[^*] */ pumit_status %127[a-z0-9_](", name) == 1) {
            ck_assert_msg(is_swept(name), "%s() has no entry in tests/sweep_*.c", name);
            calls++;
        }
    fclose(f);
    ck_assert_int_gt(calls, 60);
}
END_TEST

Suite *suite_sweep(void);
Suite *suite_sweep(void)
{
    int table = 0;
#define GATHER(name)                                                                               \
    tables[table] = sweep_##name;                                                                  \
    files_of[table] = sweep_##name##_files;                                                        \
    for (int i = 0; i < sweep_##name##_count; i++, entries++) {                                    \
        table_of[entries] = table;                                                                 \
        index_in[entries] = i;                                                                     \
    }                                                                                              \
    table++;
    SWEEP_TABLES(GATHER)
#undef GATHER
    Suite *suite = suite_create("sweep");
    TCase *tcase = tcase_create("sweep");
    tcase_add_checked_fixture(tcase, setup, files_teardown);
    const char *said = getenv("PUMIT_SWEEP");
    tcase_set_timeout(tcase, said ? 3600 : 120);
    tcase_add_loop_test(tcase, every_allocation_fails, 0, entries);
    tcase_add_loop_test(tcase, every_call_of_the_system_fails, 0, entries);
    tcase_add_test(tcase, every_call_that_can_fail_is_swept);
    suite_add_tcase(suite, tcase);
    return suite;
}
