/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/train/run_folder.h"
#include "lib/tensor/context.h"
#include "lib/train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define FOLDER "checkpoints"
#define NAME   FOLDER "/step-%09" PRId64 ".safetensors"

/* ---------------------------------------------------------------------------------------------- lock */

/* The file stays: were it removed, two processes could hold locks on two files of this name. */
pumit_status pumit__run_lock(pumit_trainer *t)
{
    char *path;
    PUMIT__TRY(pumit__make_folder(t->output));
    PUMIT__TRY(pumit__run_path(&path, t, "lock"));
    const int fd = TEMP_FAILURE_RETRY(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    pumit_status status = PUMIT_OK;
    if (fd < 0) {
        status = pumit__fail(PUMIT_ERROR_IO, "%s: cannot write: %s", path, strerror(errno));
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            status =
                pumit__fail(PUMIT_ERROR_STATE,
                            "%s: another process is training in this directory, or a trainer that "
                            "was not released: wait until it has ended, or choose another "
                            "output",
                            t->output);
        else /* some network file systems have no locks */
            pumit__log(t->ctx, PUMIT_LOG_WARNING,
                       "%s: cannot be locked (%s): let no second run write to it", path,
                       strerror(errno));
    }
    free(path);
    if (status == PUMIT_OK)
        t->lock = fd;
    else if (fd >= 0)
        close(fd);
    return status;
}

/* ----------------------------------------------------------------------------------------- listings */

/* Calls `each` with every name of a folder of the run; one that is not there has none. */
static pumit_status for_names(const char *run, const char *folder,
                              pumit_status (*each)(void *user, const char *path, const char *name),
                              void *user)
{
    char *path = pumit__format("%s/%s", run, folder);
    if (!path) return pumit__fail_memory((int64_t)strlen(run), "a path");
    pumit_status status = PUMIT_OK;
    DIR *const listing = opendir(path);
    if (!listing && errno != ENOENT)
        status = pumit__fail(pumit__status_of_errno(errno), "%s: cannot read: %s", path,
                             strerror(errno));
    for (struct dirent *entry; listing && status == PUMIT_OK && (entry = readdir(listing));)
        status = each(user, path, entry->d_name);
    if (listing) closedir(listing);
    free(path);
    return status;
}

static void remove_file(const pumit_trainer *t, const char *path)
{
    if (unlink(path) != 0 && errno != ENOENT)
        pumit__log(t->ctx, PUMIT_LOG_WARNING, "%s: cannot be removed: %s", path, strerror(errno));
}

/* What pumit__atomic_open() names its files: NAME.tmp-PID. */
static bool is_temporary(const char *name)
{
    const char *const at = strstr(name, ".tmp-");
    return at && at[5] && at[5 + strspn(at + 5, "0123456789")] == '\0';
}

static pumit_status remove_temporary(void *user, const char *path, const char *name)
{
    if (!is_temporary(name)) return PUMIT_OK;
    char *full = pumit__format("%s/%s", path, name);
    if (!full) return pumit__fail_memory((int64_t)strlen(name), "a path");
    remove_file(user, full);
    free(full);
    return PUMIT_OK;
}

pumit_status pumit__run_clean(const pumit_trainer *t)
{
    static const char *const FOLDERS[] = {".", FOLDER, "sheets"};
    for (int64_t i = 0; i < PUMIT__COUNT(FOLDERS); i++)
        PUMIT__TRY(for_names(t->output, FOLDERS[i], remove_temporary, (void *)(uintptr_t)t));
    return PUMIT_OK;
}

/* --------------------------------------------------------------------------------------- checkpoints */

/* Steps of the checkpoints that are there, the newest first. */
typedef struct {
    int64_t *steps, count, capacity;
} steps;

static pumit_status add_step(void *user, const char *path, const char *name)
{
    static const char BEFORE[] = "step-", AFTER[] = ".safetensors";
    steps *const list = user;
    (void)path;
    if (strncmp(name, BEFORE, sizeof BEFORE - 1) != 0) return PUMIT_OK;
    char *end;
    const long long step = strtoll(name + sizeof BEFORE - 1, &end, 10);
    if (strcmp(end, AFTER) != 0 || step < 0) return PUMIT_OK;
    if (!pumit__grow(&list->steps, &list->capacity, list->count + 1, (int64_t)sizeof *list->steps))
        return pumit__fail_memory((int64_t)sizeof *list->steps, "checkpoints");
    list->steps[list->count++] = step;
    return PUMIT_OK;
}

static int newest_first(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* Free list->steps, also after a failure. */
static pumit_status list_steps(steps *list, const char *run)
{
    *list = (steps){0};
    PUMIT__TRY(for_names(run, FOLDER, add_step, list));
    if (list->count > 0) qsort(list->steps, (size_t)list->count, sizeof *list->steps, newest_first);
    return PUMIT_OK;
}

static pumit_status path_of(char **out, const char *run, int64_t step)
{
    *out = pumit__format("%s/" NAME, run, step);
    return *out ? PUMIT_OK : pumit__fail_memory((int64_t)strlen(run), "a path");
}

static pumit_status open_newest(pumit__safetensors **file, char **path, pumit_context *ctx,
                                const char *run, const steps *list)
{
    for (int64_t i = 0; i < list->count; i++) {
        PUMIT__TRY(path_of(path, run, list->steps[i]));
        const pumit_status status = pumit__checkpoint_open(file, *path);
        if (status == PUMIT_OK) return PUMIT_OK;
        free(*path);
        *path = NULL;
        if (status == PUMIT_ERROR_OUT_OF_MEMORY) return status;
        if (i + 1 < list->count)
            pumit__log(ctx, PUMIT_LOG_WARNING, "%s: the one before it is taken",
                       pumit_last_error());
    }
    if (list->count == 0) return PUMIT_OK;
    return pumit__fail(
        PUMIT_ERROR_FORMAT,
        "%s; none of the run's %lld checkpoints can be read: put back a copy of one, "
        "or start anew in another output",
        pumit_last_error(), (long long)list->count);
}

pumit_status pumit__run_newest(pumit__safetensors **file, char **path, pumit_context *ctx,
                               const char *run)
{
    steps list;
    *file = NULL;
    *path = NULL;
    pumit_status status = list_steps(&list, run);
    if (status == PUMIT_OK) status = open_newest(file, path, ctx, run, &list);
    free(list.steps);
    return status;
}

/* Those beyond this step could not be read when the run was resumed. */
static pumit_status remove_old(const pumit_trainer *t)
{
    const int64_t every = t->options.keep_every;
    steps list;
    int64_t kept = 0;
    pumit_status status = list_steps(&list, t->output);
    for (int64_t i = 0; i < list.count && status == PUMIT_OK; i++) {
        const int64_t step = list.steps[i];
        char *path;
        if (step <= t->step && kept++ < t->options.keep_last) continue;
        if (step <= t->step && every > 0 && step % every == 0) continue;
        status = path_of(&path, t->output, step);
        if (status != PUMIT_OK) break;
        remove_file(t, path);
        free(path);
    }
    free(list.steps);
    return status;
}

/* metrics.jsonl reaches the disk first: a checkpoint that outlives a power cut has the lines of its steps. */
pumit_status pumit__run_save(pumit_trainer *t)
{
    char *folder, *path = NULL;
    PUMIT__TRY(pumit__run_path(&folder, t, FOLDER));
    pumit_status status;
    PUMIT__GO(pumit__make_folder(folder));
    PUMIT__GO(path_of(&path, t->output, t->step));
    if (TEMP_FAILURE_RETRY(fsync(fileno(t->metrics))) != 0)
        PUMIT__GO(pumit__fail(PUMIT_ERROR_IO, "%s/metrics.jsonl: cannot write: %s", t->output,
                              strerror(errno)));
    PUMIT__GO(pumit__checkpoint_write(t, path));
    t->saved_step = t->step;
    status = remove_old(t);
out:
    free(path);
    free(folder);
    return status;
}
