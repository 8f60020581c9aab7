/* SPDX-License-Identifier: Apache-2.0 */
/* Runs that are killed, stopped, or meet a full disk, and still end as if nothing had been. */
#include "lib/tensor/safetensors.h"
#include "tests/image_files.h"
#include "tests/program.h"

#include <pumit/train.h>

#include <cjson/cJSON.h>
#include <dirent.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEPS     420
#define LONG_WAIT 20000 /* ms that nothing takes */

/* Steps between checkpoints, most of what a small run takes. */
#define SELDOM 210
#define OFTEN  30
#define ALWAYS 10

/* ------------------------------------------------------------------------------------------- data */

static void write_thick(void)
{
    float data[24 * 24 * 6];
    for (int i = 0; i < 24 * 24 * 6; i++) data[i] = (float)(i * 5 % 251) + (float)(i % 24);
    nifti_file file = nifti_plain(16, 32, 24, 24, 6);
    file.pixdim[3] = 4.5;
    nifti_write("set/thick.nii", &file, data, 24 * 24 * 6, 4);
}

/* Degrees of anisotropy 5 and 2, and networks that take half a millisecond a step. */
static void setup(void)
{
    static const char CONFIG[] =
        "{\"tokenizer\": {\"channels\": [8, 8, 8], \"codes\": 8, \"code_dim\": 8},"
        " \"vit\": {\"dim\": 16, \"depth\": 2, \"heads\": 2, \"hidden\": 24,"
        "           \"pos_embed_shape\": [2, 2, 2], \"codes\": 8},"
        " \"train\": {\"steps\": 420, \"batch\": 2, \"tokens\": [1, 2, 2], \"warmup\": 20,"
        "             \"validate_batches\": 1, \"validate_every\": 60, \"sheet_every\": 130,"
        "             \"keep_every\": 210, \"learning_rate\": 3e-3,"
        "             \"vit\": {\"ema\": 0.99}}}";
    uint8_t rows[20 * 20];
    files_setup();
    files_folder("set");
    for (int n = 0; n < 5; n++) {
        char name[32];
        for (int i = 0; i < 400; i++) rows[i] = (uint8_t)((i % 20 * (n + 2) + i / 20 * 7) % 256);
        snprintf(name, sizeof name, "set/%d.png", n);
        png_write(name, 20, 20, 8, 0, false, rows);
    }
    write_thick();
    files_write("config.json", CONFIG, strlen(CONFIG));
}

/* --------------------------------------------------------------------------------------- processes */

/* Begins or resumes the run `output` of the program. */
static pid_t start(const char *program, const char *output, int every)
{
    char words[16][256] = {"", "--resume", "-q", "-t", "", "--config"}, *argv[17] = {0};
    int count = 6;
    snprintf(words[0], sizeof *words, "%s", program);
    snprintf(words[4], sizeof *words, strstr(program, "vit") ? "2" : "1");
    snprintf(words[count++], sizeof *words, "%s", files_path("config.json"));
    snprintf(words[count++], sizeof *words, "--checkpoint-every");
    snprintf(words[count++], sizeof *words, "%d", every);
    snprintf(words[count++], sizeof *words, "-o");
    snprintf(words[count++], sizeof *words, "%s", files_path(output));
    if (strstr(program, "vit")) {
        snprintf(words[count++], sizeof *words, "--tokenizer");
        snprintf(words[count++], sizeof *words, "%s", files_path("tokenizer/model.safetensors"));
    }
    snprintf(words[count++], sizeof *words, "%s", files_path("set"));
    for (int i = 0; i < count; i++) argv[i] = words[i];
    return program_start(argv);
}

/* What the last program said; a static buffer. */
static const char *said(void)
{
    static char text[4096];
    FILE *file = fopen(files_path("stderr"), "r");
    ck_assert_ptr_nonnull(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static int wait_for(pid_t child)
{
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

static void finish(const char *program, const char *output, int every)
{
    const int status = wait_for(start(program, output, every));
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x: %s", status, said());
}

static int64_t size_of(const char *output, const char *name)
{
    char path[128];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", output, name);
    return stat(files_path(path), &info) == 0 ? (int64_t)info.st_size : 0;
}

static int temporaries_in(const char *output)
{
    char path[128];
    int count = 0;
    snprintf(path, sizeof path, "%s/checkpoints", output);
    DIR *const listing = opendir(files_path(path));
    for (struct dirent *entry; listing && (entry = readdir(listing));)
        count += strstr(entry->d_name, ".tmp-") != NULL;
    if (listing) closedir(listing);
    return count;
}

static bool has_ended(pid_t child)
{
    siginfo_t info = {0};
    ck_assert_int_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    return info.si_pid == child;
}

/* Until metrics.jsonl has that many bytes. */
static void wait_for_metrics(pid_t child, const char *output, int64_t bytes)
{
    for (int i = 0; i < 4 * LONG_WAIT && size_of(output, "metrics.jsonl") < bytes; i++) {
        if (has_ended(child)) return;
        usleep(250);
    }
}

static void wait_for_checkpoint(pid_t child, const char *output)
{
    for (int i = 0; i < 20 * LONG_WAIT && temporaries_in(output) == 0; i++) {
        if (has_ended(child)) return;
        usleep(50);
    }
}

/* -------------------------------------------------------------------------------------- comparison */

static void losses_of(double losses[STEPS], const char *output)
{
    char name[64];
    size_t bytes;
    int count = 0;
    snprintf(name, sizeof name, "%s/metrics.jsonl", output);
    char *text = (char *)files_read(name, &bytes), *rest = NULL;
    text[bytes] = '\0'; /* there is room for it */
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        cJSON *object = cJSON_Parse(line);
        ck_assert_int_lt(count, STEPS);
        ck_assert_double_eq(cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, "step")),
                            count + 1);
        losses[count++] = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, "loss"));
        cJSON_Delete(object);
    }
    free(text);
    ck_assert_int_eq(count, STEPS);
}

/* Every array of the file: of the model the weights, of a checkpoint moments, averages and losses too. */
static void check_same_arrays(const char *a, const char *b, const char *name)
{
    pumit__safetensors *files[2];
    char paths[2][64];
    snprintf(paths[0], sizeof *paths, "%s/%s", a, name);
    snprintf(paths[1], sizeof *paths, "%s/%s", b, name);
    for (int i = 0; i < 2; i++) CHECK_OK(pumit__safetensors_open(&files[i], files_path(paths[i])));
    const int64_t count = pumit__safetensors_count(files[0]);
    ck_assert_int_gt(count, 0);
    ck_assert_int_eq(pumit__safetensors_count(files[1]), count);
    for (int64_t i = 0; i < count; i++) {
        const pumit__safetensors_entry *const x = pumit__safetensors_entry_at(files[0], i);
        const pumit__safetensors_entry *const y = pumit__safetensors_find(files[1], x->name);
        ck_assert_msg(y && x->bytes == y->bytes && memcmp(x->data, y->data, (size_t)x->bytes) == 0,
                      "%s: %s differs", paths[1], x->name);
    }
    for (int i = 0; i < 2; i++) pumit__safetensors_close(files[i]);
}

static void check_same_run(const char *a, const char *b)
{
    static double losses[2][STEPS];
    losses_of(losses[0], a);
    losses_of(losses[1], b);
    for (int i = 0; i < STEPS; i++)
        ck_assert_msg(isfinite(losses[0][i]) && losses[0][i] == losses[1][i],
                      "loss of step %d: %.17g and %.17g", i + 1, losses[0][i], losses[1][i]);
    ck_assert(losses[0][0] != losses[0][STEPS - 1]);
    check_same_arrays(a, b, "model.safetensors");
    check_same_arrays(a, b, "checkpoints/step-000000210.safetensors");
    check_same_arrays(a, b, "checkpoints/step-000000420.safetensors");
    ck_assert_int_eq(temporaries_in(b), 0);
}

/* ------------------------------------------------------------------------------------------- kills */

/* Uniform in [0, 1), the same in every run of the test. */
static double chance(void)
{
    static uint64_t state = 20261125;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) / 9007199254740992.0;
}

/* Of every four kills one comes as the process starts, one between steps, and two as a checkpoint is written. Gives whether one was. */
static bool kill_once(const char *program, const char *output, int i, int kills, int64_t whole)
{
    const pid_t child = start(program, output, ALWAYS);
    const double at = ((double)i + chance()) / (kills + 2);
    if (i % 4 > 0) wait_for_metrics(child, output, (int64_t)(at * (double)whole));
    if (i % 4 > 1) wait_for_checkpoint(child, output);
    usleep((useconds_t)((i % 4 == 0 ? 40e3 : i % 4 == 1 ? 3e3 : i % 2 ? 1e3 : 0) * chance()));
    kill(child, SIGKILL);
    const int status = wait_for(child);
    ck_assert_msg(WIFSIGNALED(status), "kill %d came too late: status %x: %s", i, status, said());
    return temporaries_in(output) > 0;
}

static void check_kills(const char *program, int kills)
{
    finish(program, "whole", SELDOM);
    const int64_t whole = size_of("whole", "metrics.jsonl");
    int halves = 0;
    for (int i = 0; i < kills; i++) halves += kill_once(program, "killed", i, kills, whole);
    finish(program, "killed", ALWAYS);
    check_same_run("whole", "killed");
    ck_assert_msg(halves > 0 || kills < 20, "no kill came while a checkpoint was written");
}

START_TEST(killed_tokenizers_end_alike)
{
    check_kills("pumit-pretrain-tokenizer", 20);
}
END_TEST

START_TEST(killed_transformers_end_alike)
{
    finish("pumit-pretrain-tokenizer", "tokenizer", SELDOM);
    check_kills("pumit-pretrain-vit", 5);
}
END_TEST

/* ----------------------------------------------------------------------------------------- signals */

static void stop_once(const char *output, int number, int64_t bytes)
{
    char part[96];
    const pid_t child = start("pumit-pretrain-tokenizer", output, OFTEN);
    wait_for_metrics(child, output, bytes);
    kill(child, number);
    const int status = wait_for(child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x: %s", status, said());
    int64_t steps = 0;
    size_t size;
    snprintf(part, sizeof part, "%s/metrics.jsonl", output);
    char *metrics = (char *)files_read(part, &size);
    for (size_t i = 0; i < size; i++) steps += metrics[i] == '\n';
    free(metrics);
    snprintf(part, sizeof part, "stopped after step %lld of 420; --resume", (long long)steps);
    ck_assert_msg(strstr(said(), part) != NULL, "%s", said());
    snprintf(part, sizeof part, "checkpoints/step-%09lld.safetensors", (long long)steps);
    ck_assert_int_gt(size_of(output, part), 0);
}

START_TEST(stopped_runs_end_alike)
{
    finish("pumit-pretrain-tokenizer", "whole", SELDOM);
    const int64_t whole = size_of("whole", "metrics.jsonl");
    stop_once("stopped", SIGTERM, whole / 4);
    stop_once("stopped", SIGINT, whole / 2);
    finish("pumit-pretrain-tokenizer", "stopped", OFTEN);
    check_same_run("whole", "stopped");
}
END_TEST

/* The second signal does not wait for the step and the checkpoint; a process that was quicker than both is no failure. */
START_TEST(second_signals_end_at_once)
{
    finish("pumit-pretrain-tokenizer", "whole", SELDOM);
    const int64_t whole = size_of("whole", "metrics.jsonl");
    bool at_once = false;
    for (int i = 1; i < 8 && !at_once; i++) {
        const pid_t child = start("pumit-pretrain-tokenizer", "stopped", OFTEN);
        wait_for_metrics(child, "stopped", i * whole / 9);
        kill(child, SIGINT);
        kill(child, SIGTERM);
        const int status = wait_for(child);
        at_once = WIFSIGNALED(status);
        ck_assert_msg(at_once || WEXITSTATUS(status) == 0, "status %x: %s", status, said());
    }
    ck_assert(at_once);
    finish("pumit-pretrain-tokenizer", "stopped", OFTEN);
    check_same_run("whole", "stopped");
}
END_TEST

/* --------------------------------------------------------------------------------------- full disks */

/* What fails after step `from`, in the process that trains, and at which step that ends the run. */
enum failing { CHECKPOINT, METRICS, EVENTS, SHEET, FAILINGS };
static const struct {
    int64_t from, ends;
    const char *name, *reason;
} FAILING[FAILINGS] = {
    {140, 150, "full/checkpoints/step-000000150.safetensors: ", "File too large"},
    {125, 126, "full/metrics.jsonl: ", "File too large"},
    {125, 126, "full/events.out.tfevents", "File too large"},
    {125, 130, "full/sheets/da", "No space left on device"},
};

static void limit_files(int64_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(90);
    limit.rlim_cur = bytes < 0 ? limit.rlim_max : (rlim_t)bytes;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(91);
}

static int64_t size_of_events(void)
{
    int64_t bytes = 0;
    DIR *const listing = opendir(files_path("full"));
    for (struct dirent *entry; listing && (entry = readdir(listing));)
        if (strncmp(entry->d_name, "events.", 7) == 0) bytes = size_of("full", entry->d_name);
    if (listing) closedir(listing);
    return bytes;
}

/* The name that the next sheets are written under leads to a device that is always full. */
static void fill_sheets(void)
{
    for (int da = 1; da <= 32; da++) {
        char name[96];
        snprintf(name, sizeof name, "full/sheets/da%d-step-000130.png.tmp-%ld", da, (long)getpid());
        if (symlink("/dev/full", files_path(name)) != 0) _exit(92);
    }
}

static int32_t fail_at(void *user, int64_t step, int64_t max_steps, const char *metrics)
{
    (void)max_steps;
    (void)metrics;
    const enum failing failing = *(const enum failing *)user;
    if (step != FAILING[failing].from) return 0;
    switch (failing) {
    case CHECKPOINT: /* larger than anything else */
        limit_files(100000);
        break;
    case METRICS:
        limit_files(size_of("full", "metrics.jsonl") + 10);
        break;
    case EVENTS: /* longer than metrics.jsonl by what the configuration takes */
        limit_files(size_of_events() + 10);
        break;
    default:
        files_folder("full/sheets");
        fill_sheets();
    }
    return 0;
}

static pumit_status train(enum failing failing)
{
    const char *path = files_path("set");
    pumit_context *context;
    pumit_dataset *data;
    pumit_config *config, *options;
    pumit_trainer *trainer;
    CHECK_OK(pumit_config_parse(&options, "{\"threads\": 1}"));
    CHECK_OK(pumit_context_create(&context, options));
    CHECK_OK(pumit_dataset_open(&data, context, 1, &path, NULL));
    CHECK_OK(pumit_config_read(&config, files_path("config.json")));
    CHECK_OK(pumit_config_set_string(config, "recipe", "tokenizer"));
    CHECK_OK(pumit_config_set_string(config, "output", files_path("full")));
    CHECK_OK(pumit_config_set_int(config, "train.checkpoint_every", OFTEN));
    CHECK_OK(pumit_trainer_create(&trainer, context, data, NULL, config));
    pumit_trainer_set_progress(trainer, fail_at, &failing);
    const pumit_status status = pumit_trainer_run(trainer);
    limit_files(-1);
    pumit_trainer_release(trainer);
    pumit_config_release(config);
    pumit_config_release(options);
    pumit_dataset_release(data);
    pumit_context_release(context);
    return status;
}

/* What a failing write is told with: the file, the reason, the remedy and where the run goes on. */
static void check_told(const char *text, const char *name, const char *reason)
{
    const char *const parts[] = {name, reason, "make room", "resume"};
    for (int i = 0; i < 4; i++)
        ck_assert_msg(strstr(text, parts[i]) != NULL, "\"%s\" lacks \"%s\"", text, parts[i]);
    ck_assert_msg(strlen(text) < 700, "%s", text);
}

START_TEST(failing_writes_lose_nothing)
{
    finish("pumit-pretrain-tokenizer", "whole", SELDOM);
    const pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        const pumit_status status = train((enum failing)_i);
        files_write("told", pumit_last_error(), strlen(pumit_last_error()));
        _exit(status == PUMIT_ERROR_IO ? 0 : 1);
    }
    const int status = wait_for(child);
    size_t bytes;
    char *told = (char *)files_read("told", &bytes), part[64];
    told[bytes] = '\0';
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x: %s", status, told);
    check_told(told, FAILING[_i].name, FAILING[_i].reason);
    snprintf(part, sizeof part, "stops at step %lld", (long long)FAILING[_i].ends);
    ck_assert_msg(strstr(told, part) && strstr(told, "from the checkpoint of step 120"), "%s",
                  told);
    free(told);
    ck_assert_int_eq(temporaries_in("full"), 0);
    ck_assert_int_eq(access(files_path("full/checkpoints/step-000000120.safetensors"), F_OK), 0);
    finish("pumit-pretrain-tokenizer", "full", OFTEN);
    check_same_run("whole", "full");
}
END_TEST

/* A disk of its own, seen by this process alone and gone with it. */
static bool mount_disk(const char *path, const char *size, unsigned long flags)
{
    return mount("tmpfs", path, "tmpfs", flags, size) == 0;
}

START_TEST(full_disks_lose_nothing)
{
    finish("pumit-pretrain-tokenizer", "whole", SELDOM);
    files_folder("disk");
    ck_assert(unshare(CLONE_NEWNS) == 0 &&
              mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    /* room for two checkpoints, not for a third beside them */
    const int64_t checkpoint = size_of("whole", "checkpoints/step-000000210.safetensors");
    char size[64];
    snprintf(size, sizeof size, "size=%lld", (long long)(checkpoint * 5 / 2));
    ck_assert(mount_disk(files_path("disk"), size, 0));
    const int status = wait_for(start("pumit-pretrain-tokenizer", "disk/run", OFTEN));
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %x: %s", status, said());
    check_told(said(), "disk/run/checkpoints/step-", "No space left on device");
    ck_assert(mount_disk(files_path("disk"), "size=64m", MS_REMOUNT));
    finish("pumit-pretrain-tokenizer", "disk/run", OFTEN);
    check_same_run("whole", "disk/run");
    ck_assert_int_eq(umount(files_path("disk")), 0);
}
END_TEST

/* Mounting wants rights that a container may lack even for root. */
static bool may_mount(void)
{
    const pid_t child = fork();
    if (child == 0)
        _exit(unshare(CLONE_NEWNS) == 0 &&
                      mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                      mount_disk("/tmp", "size=64k", 0)
                  ? 0
                  : 1);
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

Suite *suite_survive(void);
Suite *suite_survive(void)
{
    Suite *suite = suite_create("survive");
    TCase *tests = tcase_create("survive");
    tcase_add_checked_fixture(tests, setup, files_teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, killed_tokenizers_end_alike);
    tcase_add_test(tests, killed_transformers_end_alike);
    tcase_add_test(tests, stopped_runs_end_alike);
    tcase_add_test(tests, second_signals_end_at_once);
    tcase_add_loop_test(tests, failing_writes_lose_nothing, 0, FAILINGS);
    if (may_mount())
        tcase_add_test(tests, full_disks_lose_nothing);
    else
        fputs("survive: nothing can be mounted here: a full disk is played by limits alone\n",
              stderr);
    suite_add_tcase(suite, tests);
    return suite;
}
