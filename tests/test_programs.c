/* SPDX-License-Identifier: Apache-2.0 */
/* The built programs from outside: how they answer, how they fail, and one small run through all of them. */
#include "tests/answer.h"
#include "tests/image_files.h"
#include "tests/program.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <glob.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const PROGRAMS[] = {"pumit-prepare",         "pumit-pretrain-tokenizer",
                                       "pumit-pretrain-vit",    "pumit-finetune-classify",
                                       "pumit-classify",        "pumit-embed",
                                       "pumit-reconstruct",     "pumit-info",
                                       "pumit-evaluate",        "pumit-segment",
                                       "pumit-finetune-segment"};
#define PROGRAM_COUNT (int)(sizeof PROGRAMS / sizeof *PROGRAMS)

/* ------------------------------------------------------------------------------------------- habits */

START_TEST(help_and_version)
{
    for (int i = 0; i < PROGRAM_COUNT; i++) {
        const answer *a = runf("%s --help", PROGRAMS[i]);
        check_done(a);
        ck_assert_ptr_nonnull(strstr(a->out, "Usage: "));
        ck_assert_ptr_nonnull(strstr(a->out, "--json"));
        ck_assert_str_eq(a->err, "");
        a = runf("%s --version", PROGRAMS[i]);
        check_done(a);
        ck_assert_ptr_nonnull(strstr(a->out, pumit_version()));
    }
}
END_TEST

START_TEST(wrong_usage)
{
    for (int i = 0; i < PROGRAM_COUNT; i++) {
        check_line(run(PROGRAMS[i]), 2, PROGRAMS[i], "--help");
        check_line(runf("%s --no-such-option", PROGRAMS[i]), 2, PROGRAMS[i], "--no-such-option");
        check_line(runf("%s --threads two x y", PROGRAMS[i]), 2, PROGRAMS[i], "two");
        check_line(runf("%s --set novalue x y", PROGRAMS[i]), 2, PROGRAMS[i], "novalue");
        check_line(runf("%s x y --config", PROGRAMS[i]), 2, PROGRAMS[i], "--config");
    }
    check_line(run("pumit-pretrain-vit x"), 2, "pumit-pretrain-vit", "--output");
    check_line(runf("pumit-pretrain-vit x -o %s --weight a=-1", files_path("o")), 2,
               "pumit-pretrain-vit", "PATTERN=FACTOR");
    check_line(run("pumit-reconstruct x y"), 2, "pumit-reconstruct", "--output");
}
END_TEST

/* ------------------------------------------------------------------------------------------ failures */

/* What every program that reads images says of one. */
static void check_all_refuse(const char *name, const char *part)
{
    const char *const path = files_path(name);
    check_line(runf("pumit-info %s", path), 1, "pumit-info", part);
    check_line(runf("pumit-pretrain-tokenizer -o %s %s", files_path("run"), path), 1,
               "pumit-pretrain-tokenizer", part);
    check_line(runf("pumit-finetune-classify -o %s %s", files_path("run"), path), 1,
               "pumit-finetune-classify", part);
    ck_assert_int_ne(access(files_path("run"), F_OK), 0);
}

START_TEST(bad_inputs)
{
    nifti_file file = nifti_plain(2, 8, 20, 20, 20);
    static uint8_t voxels[8000];
    file.cut = 5000;
    nifti_write("cut.nii", &file, voxels, 8000, 1);
    size_t bytes;
    uint8_t *whole = files_read("cut.nii", &bytes);
    files_write_gzip("whole.nii.gz", whole, bytes);
    free(whole);
    whole = files_read("whole.nii.gz", &bytes);
    files_write("torn.nii.gz", whole, bytes / 2);
    free(whole);
    files_write("text.nii", "this is no image at all", 23);
    files_folder("empty");
    check_all_refuse("missing.nii.gz", "missing.nii.gz");
    check_all_refuse("cut.nii", "cut.nii");
    check_all_refuse("torn.nii.gz", "torn.nii.gz");
    check_all_refuse("text.nii", "text.nii");
    check_all_refuse("empty", "no image");
}
END_TEST

START_TEST(renamed_pictures)
{
    const uint8_t rows[16 * 16] = {9, 200, 7};
    png_write("picture.nii", 16, 16, 8, 0, false, rows);
    check_line(runf("pumit-info --json %s", files_path("picture.nii")), 1, "pumit-info",
               "is a PNG picture, not NIfTI");
    png_write("picture.jpg", 16, 16, 8, 0, false, rows);
    const answer *a = runf("pumit-info --json %s", files_path("picture.jpg"));
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->out, "\"da\":\t5"));
}
END_TEST

START_TEST(bad_outputs)
{
    const uint8_t rows[16 * 16] = {9, 200, 7};
    png_write("picture.png", 16, 16, 8, 0, false, rows);
    files_write("file", "x", 1);
    check_line(runf("pumit-pretrain-tokenizer -o %s/run %s", files_path("file"),
                    files_path("picture.png")),
               1, "pumit-pretrain-tokenizer", "file/run");
    files_folder("taken");
    files_write("taken/config.json", "{}", 2);
    check_line(
        runf("pumit-pretrain-tokenizer -o %s %s", files_path("taken"), files_path("picture.png")),
        1, "pumit-pretrain-tokenizer", "already holds a run");
}
END_TEST

START_TEST(bad_models)
{
    const uint8_t rows[16 * 16] = {9, 200, 7};
    png_write("picture.png", 16, 16, 8, 0, false, rows);
    files_write("broken.safetensors", "\x09\0\0\0\0\0\0\0{\"a\": [}}", 17);
    static const char *const USERS[] = {"pumit-embed", "pumit-classify"};
    for (int i = 0; i < 2; i++) {
        check_line(runf("%s %s %s", USERS[i], files_path("none"), files_path("picture.png")), 1,
                   USERS[i], "none");
        check_line(
            runf("%s %s %s", USERS[i], files_path("broken.safetensors"), files_path("picture.png")),
            1, USERS[i], "broken.safetensors");
    }
    check_line(runf("pumit-info %s", files_path("broken.safetensors")), 1, "pumit-info",
               "broken.safetensors");
    files_write("broken.json", "{\n\"a\": [}\n", 10);
    check_line(runf("pumit-info --config %s x", files_path("broken.json")), 1, "pumit-info",
               "line 2");
    check_line(runf("pumit-info --device abacus %s", files_path("picture.png")), 1, "pumit-info",
               "abacus");
}
END_TEST

/* -------------------------------------------------------------------------------------------- images */

START_TEST(preparing)
{
    uint8_t rows[16 * 16];
    for (int i = 0; i < 16 * 16; i++) rows[i] = (uint8_t)i;
    files_folder("in");
    png_write("in/a.png", 16, 16, 8, 0, false, rows);
    files_write("in/b.png", "x", 1);
    check_line(runf("pumit-prepare %s", files_path("in")), 2, "pumit-prepare", "--output");
    check_line(
        runf("pumit-prepare -o %s --foreground much %s", files_path("set"), files_path("in")), 1,
        "pumit-prepare", "foreground");
    cJSON *report = parsed(
        runf("pumit-prepare --json -q -o %s -m */a*=XR %s", files_path("set"), files_path("in")));
    ck_assert_int_eq(cJSON_GetObjectItem(report, "images")->valueint, 1);
    cJSON_Delete(report);
    const answer *a =
        runf("pumit-prepare -q --strict -o %s %s", files_path("set"), files_path("in"));
    ck_assert_int_eq(a->status, 1);
    ck_assert_ptr_nonnull(strstr(a->out, "already_there    1"));
    ck_assert_ptr_nonnull(strstr(a->out, "in/b.png"));
    check_line(runf("pumit-prepare -q -o %s %s", files_path("set"), files_path("none")), 1,
               "pumit-prepare", "none");
}
END_TEST

/* -------------------------------------------------------------------------------------- segmentations */

/* 6 x 5 x 4 voxels (i, j, k), 1 mm along right, anterior, superior, all 0 but those from `first` on. */
static void write_labels(const char *name, int first, int count, uint8_t label)
{
    uint8_t voxels[6 * 5 * 4] = {0};
    nifti_file file = nifti_plain(2, 8, 6, 5, 4);
    file.sform = 1;
    for (int a = 0; a < 3; a++) file.rows[5 * a] = 1;
    for (int i = 0; i < count; i++) voxels[first + i] = label;
    nifti_write(name, &file, voxels, sizeof voxels, 1);
}

/* Are there pixels of the colour in a quarter of the picture? It has one tile. */
static bool is_drawn(const pumit_volume *picture, const float rgb[3], bool below, bool right)
{
    int64_t shape[4];
    pumit_volume_shape(picture, shape);
    for (int64_t i = 0; i < shape[1] * shape[2]; i++) {
        const float *const pixel = pumit_volume_voxels(picture) + 3 * i;
        if ((i / shape[2] >= shape[1] / 2) != below || (i % shape[2] >= shape[2] / 2) != right)
            continue;
        if (fabsf(pixel[0] - rgb[0]) + fabsf(pixel[1] - rgb[1]) + fabsf(pixel[2] - rgb[2]) < 3)
            return true;
    }
    return false;
}

/* The prediction lies right anterior, the reference left posterior. */
static void check_picture(const char *name)
{
    static const float ORANGE[3] = {230, 158, 0}, WHITE[3] = {255, 255, 255};
    pumit_volume *picture;
    CHECK_OK(pumit_volume_read(&picture, files_context, files_path(name), 0));
    for (int quarter = 0; quarter < 4; quarter++) {
        const bool below = quarter / 2, right = quarter % 2;
        ck_assert_int_eq(is_drawn(picture, ORANGE, below, right), !below && !right);
        ck_assert_int_eq(is_drawn(picture, WHITE, below, right), below && right);
    }
    pumit_volume_release(picture);
}

START_TEST(segmentations_are_judged)
{
    size_t bytes;
    char folders[2][512];
    files_folder("p");
    files_folder("r");
    files_folder("i");
    write_labels("p/a.nii", 60, 2, 1);
    write_labels("r/a.nii", 60, 1, 1);
    write_labels("p/b_0000.nii", 60 + 29, 1, 1);
    write_labels("r/b.nii.gz", 60, 1, 1);
    write_labels("i/a.nii", 70, 1, 9);
    write_labels("i/b_0000.nii", 70, 1, 9);
    snprintf(folders[0], sizeof *folders, "%s", files_path("p"));
    snprintf(folders[1], sizeof *folders, "%s", files_path("r"));
    cJSON *tree = parsed(runf("pumit-evaluate --json --report %s --names square --images %s "
                              "--contours %s --tolerance 0 %s %s",
                              files_path("r.json"), files_path("i"), files_path("c"), folders[0],
                              folders[1]));
    const cJSON *const first = cJSON_GetObjectItem(tree, "classes")->child;
    ck_assert_str_eq(cJSON_GetObjectItem(first, "name")->valuestring, "square");
    ck_assert(fabs(number(cJSON_GetObjectItem(first, "dice"), "mean") - 1 / 3.0) <= 1e-12);
    ck_assert(fabs(number(cJSON_GetObjectItem(first, "surface_dice"), "mean") - 1 / 3.0) <= 1e-12);
    cJSON_Delete(tree);
    tree = parsed(
        runf("pumit-evaluate --json --bootstrap 0 --names ,two %s %s", folders[0], folders[1]));
    const cJSON *const unnamed = cJSON_GetObjectItem(tree, "classes")->child;
    ck_assert_str_eq(cJSON_GetObjectItem(unnamed, "name")->valuestring, "");
    cJSON_Delete(tree);
    char many[300];
    memset(many, ',', sizeof many - 1);
    many[sizeof many - 1] = '\0';
    check_line(runf("pumit-evaluate --names a%s %s %s", many, folders[0], folders[1]), 2,
               "pumit-evaluate", "255 classes");
    char *report = (char *)files_read("r.json", &bytes);
    ck_assert_ptr_nonnull(memmem(report, bytes, "\"tolerance_mm\":\t0", 17));
    free(report);
    ck_assert_int_eq(access(files_path("c/a.png"), F_OK), 0);
    check_picture("c/b.png");
    const answer *a = runf("pumit-evaluate %s %s", folders[0], folders[1]);
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->out, "0.3333  0.0000 .. 0.6667"));
    ck_assert_ptr_nonnull(strstr(a->out, "a.nii "));
    check_done(runf("pumit-evaluate %s/a.nii %s/a.nii", folders[0], folders[1]));
    unlink(files_path("p/b_0000.nii"));
    check_line(runf("pumit-evaluate %s %s", folders[0], folders[1]), 1, "pumit-evaluate",
               "p/b.nii.gz: there is no prediction");
    check_line(runf("pumit-evaluate %s %s", folders[0], files_path("i")), 1, "pumit-evaluate",
               "p/b_0000.nii");
    check_line(runf("pumit-evaluate %s %s/a.nii", folders[0], folders[1]), 2, "pumit-evaluate",
               "two folders");
    unlink(files_path("i/a.nii"));
    check_line(runf("pumit-evaluate --images %s --contours %s %s %s", files_path("i"),
                    files_path("c"), folders[1], folders[1]),
               1, "pumit-evaluate", "i/a.nii: there is no image");
    check_line(runf("pumit-evaluate --contours %s %s %s", files_path("c"), folders[0], folders[1]),
               2, "pumit-evaluate", "--images");
}
END_TEST

START_TEST(images_are_described)
{
    static float voxels[30 * 20 * 6];
    for (int i = 0; i < 3600; i++) voxels[i] = (float)(i - 100);
    nifti_file file = nifti_plain(16, 32, 30, 20, 6);
    file.pixdim[1] = file.pixdim[2] = 0.5;
    file.pixdim[3] = 4.5;
    nifti_write("thick.nii.gz", &file, voxels, 3600, 4);
    cJSON *list = parsed(runf("pumit-info --json %s", files_path("thick.nii.gz")));
    const cJSON *item = list->child;
    static const double SHAPE[] = {6, 20, 30, 1}, SPACING[] = {4.5, 0.5, 0.5};
    ck_assert_int_eq(cJSON_GetArraySize(list), 1);
    ck_assert_double_eq(number(item, "da"), 3);
    ck_assert_double_eq(number(item, "tokens"), 3 * 1 * 2);
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq(cJSON_GetArrayItem(cJSON_GetObjectItem(item, "shape"), i)->valuedouble,
                            SHAPE[i]);
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq_tol(
            cJSON_GetArrayItem(cJSON_GetObjectItem(item, "spacing"), i)->valuedouble, SPACING[i],
            1e-6);
    ck_assert_double_eq(cJSON_GetArrayItem(cJSON_GetObjectItem(item, "range"), 0)->valuedouble,
                        -100);
    cJSON_Delete(list);
    const answer *a = runf("pumit-info %s", files_path("thick.nii.gz"));
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->out, "6x20x30x1"));
    ck_assert_ptr_nonnull(strstr(run("pumit-info --devices")->out, "reference"));
}
END_TEST

/* ------------------------------------------------------------------------------------------ one run */

static void write_archive(void)
{
    enum { EACH = 12 };
    static uint8_t images[3][EACH * 144], labels[EACH];
    static const char *const SPLITS[] = {"train", "val", "test"};
    static char keys[6][24];
    npz_member members[6];
    for (int n = 0; n < EACH; n++) labels[n] = (uint8_t)(n % 2);
    for (int s = 0; s < 3; s++) {
        for (int i = 0; i < EACH * 144; i++)
            images[s][i] = (uint8_t)((i * 7 + s) % 99 + (i / 144 % 2) * (i % 144 / 12) * 12);
        snprintf(keys[2 * s], sizeof *keys, "%s_images", SPLITS[s]);
        snprintf(keys[2 * s + 1], sizeof *keys, "%s_labels", SPLITS[s]);
        members[2 * s] = (npz_member){
            keys[2 * s], "{'descr': '|u1', 'fortran_order': False, 'shape': (12, 12, 12), }",
            images[s], EACH * 144};
        members[2 * s + 1] = (npz_member){
            keys[2 * s + 1], "{'descr': '|u1', 'fortran_order': False, 'shape': (12,), }", labels,
            EACH};
    }
    npz_write("set.npz", members, 6, false);
}

static void write_config(void)
{
    static const char TEXT[] =
        "{\"tokenizer\": {\"channels\": [8, 8, 16], \"codes\": 8, \"code_dim\": 8},"
        " \"vit\": {\"dim\": 16, \"depth\": 2, \"heads\": 2, \"hidden\": 24,"
        "           \"pos_embed_shape\": [2, 2, 2], \"codes\": 8},"
        " \"train\": {\"batch\": 2, \"tokens\": [2, 2, 2], \"validate_batches\": 1,"
        "             \"classify\": {\"batch\": 6}}}";
    files_write("tiny.json", TEXT, strlen(TEXT));
}

static double train(const char *program, const char *output, const char *rest)
{
    char config[512];
    snprintf(config, sizeof config, "%s", files_path("tiny.json"));
    cJSON *summary = parsed(runf("%s --config %s --threads 1 --steps 4 --json -q -o %s %s %s",
                                 program, config, files_path(output), rest, files_path("set.npz")));
    const double steps = number(summary, "steps"), loss = number(summary, "last_loss");
    ck_assert(isfinite(loss));
    cJSON_Delete(summary);
    return steps;
}

/* What was skipped on the way is told when the run has ended. */
START_TEST(skipped_steps_are_told)
{
    char config[512], output[512];
    write_archive();
    write_config();
    snprintf(config, sizeof config, "%s", files_path("tiny.json"));
    snprintf(output, sizeof output, "%s", files_path("run"));
    const answer *a =
        runf("pumit-pretrain-tokenizer --config %s -t 1 -n 6 --warmup 0 -l 1e30 -o %s %s", config,
             output, files_path("set.npz"));
    check_done(a);
    ck_assert_msg(strstr(a->err, "run/bad-batch-step-00000000"), "%s", a->err);
}
END_TEST

static void check_file(const char *name, const char *magic, size_t bytes)
{
    size_t got;
    uint8_t *data = files_read(name, &got);
    ck_assert_uint_gt(got, bytes);
    ck_assert_int_eq(memcmp(data, magic, bytes), 0);
    free(data);
}

static void check_classifier(void)
{
    cJSON *tree = parsed(runf("pumit-classify --json --split test %s %s",
                              files_path("cls/model.safetensors"), files_path("set.npz")));
    ck_assert_double_eq(number(tree, "count"), 12);
    ck_assert(number(tree, "auc") >= 0 && number(tree, "auc") <= 1);
    ck_assert(number(tree, "accuracy") >= 0 && number(tree, "accuracy") <= 1);
    const cJSON *row =
        cJSON_GetObjectItem(cJSON_GetObjectItem(tree, "images")->child, "probabilities");
    ck_assert_double_eq_tol(row->child->valuedouble + row->child->next->valuedouble, 1, 1e-5);
    cJSON_Delete(tree);
    const answer *a = runf("pumit-classify -o %s %s %s", files_path("p.csv"),
                           files_path("cls/model.safetensors"), files_path("set.npz"));
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->out, "AUC"));
    check_file("p.csv", "image,label,p0,p1\n", 18);
    check_line(runf("pumit-classify -o %s/no/p.csv %s %s", files_path("tiny.json"),
                    files_path("cls/model.safetensors"), files_path("set.npz")),
               1, "pumit-classify", "tiny.json/no/p.csv");
}

static void check_counts(const char *options, int learn, int judge)
{
    char config[512], wanted[96];
    snprintf(config, sizeof config, "%s", files_path("tiny.json"));
    const answer *a = runf("pumit-finetune-classify --config %s -t 1 -o %s %s %s", config,
                           files_path("cls"), options, files_path("set.npz"));
    check_done(a);
    snprintf(wanted, sizeof wanted, "%d images to learn from, %d to judge by", learn, judge);
    ck_assert_msg(strstr(a->err, wanted) != NULL, "%s", a->err);
}

/* A run that goes on has the same part of the images; the fold takes the place of the archive's own split. */
START_TEST(parts_are_chosen)
{
    write_archive();
    write_config();
    check_counts("--steps 2 --labels 0.5 --seed 7", 6, 12);
    check_counts("--steps 3 --resume", 6, 12);
    const answer *a =
        runf("pumit-finetune-classify --resume --steps 5 --labels 0.5 --subset-seed 9 -o %s %s",
             files_path("cls"), files_path("set.npz"));
    ck_assert_msg(strstr(a->err, "the images are not those") != NULL, "%s", a->err);
    check_line(
        runf("pumit-finetune-classify --fold 2 -o %s %s", files_path("no"), files_path("set.npz")),
        1, "pumit-finetune-classify", "fold: 2");
}
END_TEST

/* How the data is laid out is part of what a run knows. */
START_TEST(folders_of_classes_resume)
{
    char config[512], output[256];
    const uint8_t pixels[144] = {7};
    write_config();
    files_folder("set");
    files_folder("set/no");
    files_folder("set/yes");
    png_write("set/no/a.png", 12, 12, 8, 0, false, pixels);
    png_write("set/yes/b.png", 12, 12, 8, 0, false, pixels);
    snprintf(config, sizeof config, "%s", files_path("tiny.json"));
    snprintf(output, sizeof output, "%s", files_path("run"));
    check_done(runf("pumit-finetune-classify --config %s -t 1 -n 1 -o %s --folders-are-labels %s",
                    config, output, files_path("set")));
    check_done(runf("pumit-finetune-classify --resume -t 1 -n 2 -o %s", output));
}
END_TEST

START_TEST(folds_are_judged)
{
    write_archive();
    write_config();
    check_counts("--steps 2 --folds 4 --fold 3 --labels 0.34", 3, 3);
    check_line(runf("pumit-finetune-classify --folds 4 --validation x.npz -o %s %s",
                    files_path("no"), files_path("set.npz")),
               2, "pumit-finetune-classify", "--folds judges by a fold");
}
END_TEST

/* A list of 8 images, where there is a column of splits the last two of "val". */
static void write_list(const char *file, bool splits)
{
    char list[512];
    int n = snprintf(list, sizeof list, splits ? "path,label,split\n" : "path,label\n");
    for (int i = 0; i < 8; i++) {
        uint8_t pixels[24 * 24];
        char name[16];
        for (int k = 0; k < 24 * 24; k++) pixels[k] = (uint8_t)((k * 7 + 40 * i) % 199);
        snprintf(name, sizeof name, "%d.png", i);
        png_write(name, 24, 24, 8, 0, false, pixels);
        n += snprintf(list + n, sizeof list - (size_t)n, "%s,%d%s\n", name, i & 1,
                      !splits ? ""
                      : i < 6 ? ",train"
                              : ",val");
    }
    files_write(file, list, (size_t)n);
}

/* Archives lead: what is learnt from is never what is judged by, and what cannot be read is told. */
static void check_data(const char *options, int learn, int judge, const char *wrong)
{
    char config[512], wanted[96];
    static int runs;
    snprintf(config, sizeof config, "%s", files_path("tiny.json"));
    const answer *a = runf("pumit-finetune-classify --config %s -t 1 --steps 1 -o %s%d %s", config,
                           files_path("r"), runs++, options);
    if (wrong) {
        ck_assert_msg(a->status == 1 && strstr(a->err, wrong) != NULL, "%s: %s", options, a->err);
        return;
    }
    check_done(a);
    snprintf(wanted, sizeof wanted, "%d images to learn from, %d to judge by", learn, judge);
    ck_assert_msg(strstr(a->err, wanted) != NULL, "%s: %s", options, a->err);
}

START_TEST(splits_are_kept_apart)
{
    char set[256], with[256], without[256], text[1024];
    write_archive();
    write_config();
    write_list("with.csv", true);
    write_list("without.csv", false);
    snprintf(set, sizeof set, "%s", files_path("set.npz"));
    snprintf(with, sizeof with, "%s", files_path("with.csv"));
    snprintf(without, sizeof without, "%s", files_path("without.csv"));
    check_data(set, 12, 12, NULL);
    check_data(without, 8, 0, NULL);
    snprintf(text, sizeof text, "--split train %s", set); /* the default, said */
    check_data(text, 12, 12, NULL);
    snprintf(text, sizeof text, "--split all %s", set);
    check_data(text, 36, 0, NULL);
    snprintf(text, sizeof text, "%s %s", with, without);
    check_data(text, 0, 0, "names no column \"split\"");
    snprintf(text, sizeof text, "--validation %s %s", without, with);
    check_data(text, 6, 8, NULL);
    files_write("with.csv", "path,label,split\n0.png,0,train\n1.png,1,train\n", 45);
    check_data(with, 2, 0, NULL);
    files_write("with.csv", "path,label,split\n0.png,0,train\n1.png,1,train\nno.png,1,val\n", 58);
    check_data(with, 0, 0, "no.png");
}
END_TEST

/* Any number of labels from a list: trained, applied and judged by their names. */
START_TEST(labels_run_through_all)
{
    char list[1024];
    int n = snprintf(list, sizeof list, "path,label.fluid,label.mass,split\n");
    write_config();
    for (int i = 0; i < 8; i++) {
        uint8_t pixels[24 * 24];
        char name[16];
        for (int k = 0; k < 24 * 24; k++) pixels[k] = (uint8_t)((k * 7 + 40 * i) % 199);
        snprintf(name, sizeof name, "%d.png", i);
        png_write(name, 24, 24, 8, 0, false, pixels);
        n += snprintf(list + n, sizeof list - (size_t)n, "%s,%d,%d,%s\n", name, i & 1, i >> 1 & 1,
                      i < 4 ? "train" : "val");
    }
    files_write("many.csv", list, (size_t)n);
    char config[512];
    snprintf(config, sizeof config, "%s", files_path("tiny.json"));
    check_done(runf("pumit-finetune-classify --config %s -q -t 1 --steps 2 -o %s %s", config,
                    files_path("cls"), files_path("many.csv")));
    cJSON *tree = parsed(runf("pumit-classify --json --split val %s %s",
                              files_path("cls/model.safetensors"), files_path("many.csv")));
    ck_assert_double_eq(number(tree, "count"), 4);
    ck_assert_ptr_nonnull(cJSON_GetObjectItem(tree, "auc"));
    char *text = cJSON_PrintUnformatted(tree);
    ck_assert_msg(strstr(text, "fluid") && strstr(text, "\"labels\""), "%s", text);
    free(text);
    cJSON_Delete(tree);
}
END_TEST

/* Images of several sizes and spacings; *count: numbers in all embeddings. free() them. */
static double *embeddings(const char *options, int *count)
{
    cJSON *rows = parsed(runf("pumit-embed --json %s %s %s", options,
                              files_path("vit/model.safetensors"), files_path("several")));
    double *const values = malloc(6 * 16 * sizeof *values);
    ck_assert_ptr_nonnull(values);
    *count = 0;
    for (const cJSON *row = rows->child; row; row = row->next)
        for (const cJSON *v = cJSON_GetObjectItem(row, "embedding")->child; v; v = v->next)
            if (*count < 6 * 16) values[(*count)++] = v->valuedouble;
    cJSON_Delete(rows);
    return values;
}

static void check_embeddings(void)
{
    static const char *const OPTIONS[] = {"--batch 1", "--batch 4", ""};
    static float voxels[20 * 20 * 8];
    static uint8_t pixels[60 * 40];
    double *values[3];
    int count;
    files_folder("several");
    for (int n = 0; n < 3; n++) {
        char name[32];
        nifti_file file = nifti_plain(16, 32, 20, 20, 8);
        file.pixdim[3] = 1 + 2 * n;
        for (int i = 0; i < 20 * 20 * 8; i++) voxels[i] = (float)(i * (n + 3) % 101);
        for (int i = 0; i < 60 * 40; i++) pixels[i] = (uint8_t)(i * (n + 3) % 251);
        snprintf(name, sizeof name, "several/%d.nii", n);
        nifti_write(name, &file, voxels, 20 * 20 * 8, 4);
        snprintf(name, sizeof name, "several/%d.png", n);
        png_write(name, n == 1 ? 40 : 60, n == 1 ? 60 : 40, 8, 0, false, pixels);
    }
    for (int k = 0; k < 3; k++) {
        values[k] = embeddings(OPTIONS[k], &count);
        ck_assert_int_eq(count, 6 * 16);
        for (int i = 0; i < count; i++)
            ck_assert(fabs(values[k][i] - values[0][i]) <= 1e-5 * (1 + fabs(values[0][i])));
    }
    ck_assert(memcmp(values[0], values[0] + 16, 16 * sizeof(double)) != 0);
    for (int k = 0; k < 3; k++) free(values[k]);
    const answer *a = runf("pumit-embed --batch 0 %s %s", files_path("vit/model.safetensors"),
                           files_path("several"));
    ck_assert_int_eq(a->status, 2);
    ck_assert_ptr_nonnull(strstr(a->err, "--batch"));
}

/* An image that cannot be read when the batch before it is full. */
static void check_broken_image(void)
{
    const uint8_t pixels[40 * 40] = {9, 200, 7};
    files_folder("two");
    png_write("two/a.png", 40, 40, 8, 0, false, pixels);
    png_write("two/b.png", 40, 40, 8, 0, false, pixels);
    check_done(runf("pumit-prepare -q -o %s %s", files_path("half"), files_path("two")));
    glob_t found;
    ck_assert_int_eq(glob(files_path("half/data/b-*.npy"), 0, NULL, &found), 0);
    FILE *const f = fopen(found.gl_pathv[0], "r+b");
    globfree(&found);
    ck_assert_ptr_nonnull(f);
    fputc('x', f);
    fclose(f);
    check_line(runf("pumit-embed --batch 1 %s %s -o /dev/null", files_path("vit/model.safetensors"),
                    files_path("half")),
               1, "pumit-embed", "prepare it again");
}

START_TEST(one_run_through_all)
{
    char option[512];
    write_archive();
    write_config();
    ck_assert_double_eq(train("pumit-pretrain-tokenizer", "tok", ""), 4);
    snprintf(option, sizeof option, "--tokenizer %s", files_path("tok/model.safetensors"));
    ck_assert_double_eq(train("pumit-pretrain-vit", "vit", option), 4);
    snprintf(option, sizeof option, "--init %s", files_path("vit/model.safetensors"));
    ck_assert_double_eq(train("pumit-finetune-classify", "cls", option), 4);
    check_classifier();
    cJSON *rows = parsed(runf("pumit-embed --json --split test %s %s",
                              files_path("vit/model.safetensors"), files_path("set.npz")));
    ck_assert_int_eq(cJSON_GetArraySize(rows), 12);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(rows->child, "embedding")), 16);
    ck_assert_double_eq(number(rows->child, "da"), 5);
    cJSON_Delete(rows);
    check_embeddings();
    check_broken_image();
    const uint8_t pixels[40 * 40] = {9, 200, 7};
    png_write("picture.png", 40, 40, 8, 0, false, pixels);
    check_done(runf("pumit-reconstruct %s %s --vit %s -o %s", files_path("tok/model.safetensors"),
                    files_path("picture.png"), files_path("vit/model.safetensors"),
                    files_path("sheet.png")));
    check_file("sheet.png", "\x89PNG\r\n\x1a\n", 8);
    const answer *a = runf("pumit-info --json %s", files_path("cls/model.safetensors"));
    check_done(a);
    ck_assert_ptr_nonnull(strstr(a->out, "classifier"));
    ck_assert_ptr_nonnull(strstr(a->out, "set.npz"));
}
END_TEST

/* Metrics written by hand: a lost value, a list, a validation, and a last line that a full disk cut short. */
START_TEST(runs_are_described_and_drawn)
{
    static const char METRICS[] =
        "{\"step\":1,\"loss\":4,\"norms\":[1,2]}\n{\"step\":2,\"loss\":null,\"skipped\":1}\n"
        "{\"step\":3,\"loss\":2,\"validation\":{\"psnr\":21.5}}\n{\"step\":4,\"lo";
    char run_path[512], drawing[512];
    size_t bytes;
    files_folder("done");
    files_write("done/metrics.jsonl", METRICS, strlen(METRICS));
    files_write("done/config.json", "{\"recipe\":\"vit\",\"train\":{\"steps\":9}}", 36);
    snprintf(run_path, sizeof run_path, "%s", files_path("done"));
    snprintf(drawing, sizeof drawing, "%s", files_path("curves.svg"));
    cJSON *list = parsed(runf("pumit-info --json --plot %s %s", drawing, run_path));
    const cJSON *const item = list->child;
    ck_assert_str_eq(cJSON_GetObjectItem(item, "recipe")->valuestring, "vit");
    ck_assert_double_eq(number(item, "step"), 3);
    ck_assert_double_eq(number(item, "of_steps"), 9);
    ck_assert_double_eq(number(item, "skipped"), 1);
    ck_assert_double_eq(number(cJSON_GetObjectItem(item, "recent"), "loss"), 3);
    ck_assert_double_eq(number(cJSON_GetObjectItem(item, "validation"), "psnr"), 21.5);
    cJSON_Delete(list);
    char *const svg = (char *)files_read("curves.svg", &bytes);
    ck_assert(memmem(svg, bytes, ">loss</text>", 12) && memmem(svg, bytes, ">psnr</text>", 12));
    ck_assert(!memmem(svg, bytes, "nan", 3) && memmem(svg, bytes, "</svg>\n", 7));
    free(svg);
    check_line(runf("pumit-info --plot %s %s", drawing, files_path("curves.svg")), 1, "pumit-info",
               "is no run directory");
    check_line(runf("pumit-info --plot %s/x.svg %s", drawing, run_path), 1, "pumit-info", "x.svg");
    files_write("done/metrics.jsonl", METRICS, 9);
    check_line(runf("pumit-info %s", run_path), 1, "pumit-info", "holds no step");
}
END_TEST

/* SIGTERM ends the step, saves, and is no failure; --resume needs neither data nor config again. */
START_TEST(signals_stop_and_resume)
{
    char words[10][512] = {
        "pumit-pretrain-tokenizer", "--config", "", "-t", "1", "-n", "100000", "-o", "", ""};
    char *argv[11] = {0};
    int status;
    write_archive();
    write_config();
    snprintf(words[2], sizeof *words, "%s", files_path("tiny.json"));
    snprintf(words[8], sizeof *words, "%s", files_path("run"));
    snprintf(words[9], sizeof *words, "%s", files_path("set.npz"));
    for (int i = 0; i < 10; i++) argv[i] = words[i];
    const pid_t child = program_start(argv);
    struct stat info;
    for (int i = 0; i < 3000; i++) {
        usleep(10000);
        if (stat(files_path("run/metrics.jsonl"), &info) == 0 && info.st_size > 2000) break;
    }
    ck_assert_int_eq(kill(child, SIGTERM), 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    char err[4096];
    read_text(err, sizeof err, "stderr");
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x: %s", status, err);
    size_t bytes;
    char *metrics = (char *)files_read("run/metrics.jsonl", &bytes), checkpoint[64];
    int64_t steps = 0;
    for (size_t i = 0; i < bytes; i++) steps += metrics[i] == '\n';
    free(metrics);
    snprintf(checkpoint, sizeof checkpoint, "run/checkpoints/step-%09lld.safetensors",
             (long long)steps);
    ck_assert_int_eq(access(files_path(checkpoint), F_OK), 0);
    cJSON *summary = parsed(runf("pumit-pretrain-tokenizer --resume --json -q -n %lld -o %s",
                                 (long long)steps + 3, files_path("run")));
    ck_assert_double_eq(number(summary, "steps"), (double)steps + 3);
    cJSON_Delete(summary);
}
END_TEST

Suite *suite_programs(void);
Suite *suite_programs(void)
{
    Suite *suite = suite_create("programs");
    TCase *tests = tcase_create("programs");
    tcase_add_checked_fixture(tests, files_setup, files_teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, help_and_version);
    tcase_add_test(tests, wrong_usage);
    tcase_add_test(tests, bad_inputs);
    tcase_add_test(tests, renamed_pictures);
    tcase_add_test(tests, bad_outputs);
    tcase_add_test(tests, preparing);
    tcase_add_test(tests, bad_models);
    tcase_add_test(tests, images_are_described);
    tcase_add_test(tests, segmentations_are_judged);
    tcase_add_test(tests, skipped_steps_are_told);
    tcase_add_test(tests, parts_are_chosen);
    tcase_add_test(tests, folds_are_judged);
    tcase_add_test(tests, folders_of_classes_resume);
    tcase_add_test(tests, splits_are_kept_apart);
    tcase_add_test(tests, labels_run_through_all);
    tcase_add_test(tests, one_run_through_all);
    tcase_add_test(tests, runs_are_described_and_drawn);
    tcase_add_test(tests, signals_stop_and_resume);
    suite_add_tcase(suite, tests);
    return suite;
}
