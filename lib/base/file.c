/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static pumit_status fail_io(const char *action, const char *path)
{
    return pumit__fail(pumit__status_of_errno(errno), "%s: cannot %s: %s", path, action,
                       strerror(errno));
}

/* A rename or a new folder is durable once the folder that it happened in is on disk. */
static void sync_folder_of(const char *path)
{
    char *folder = pumit__strdup(path);
    if (!folder) return;
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    const int fd =
        TEMP_FAILURE_RETRY(open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd >= 0) {
        (void)TEMP_FAILURE_RETRY(fsync(fd));
        close(fd);
    }
    free(folder);
}

pumit_status pumit__atomic_open(pumit__atomic_file *file, const char *path)
{
    *file = (pumit__atomic_file){0};
    file->path = pumit__strdup(path);
    file->temporary = pumit__format("%s.tmp-%ld", path, (long)getpid());
    if (!file->path || !file->temporary) return pumit__fail_memory((int64_t)strlen(path), "a path");
    file->file = fopen(file->temporary, "wbe");
    return file->file ? PUMIT_OK : fail_io("write", path);
}

pumit_status pumit__atomic_write(pumit__atomic_file *file, const void *data, int64_t bytes)
{
    if (fwrite(data, 1, (size_t)bytes, file->file) != (size_t)bytes)
        return fail_io("write", file->path);
    return PUMIT_OK;
}

pumit_status pumit__atomic_commit(pumit__atomic_file *file)
{
    FILE *stream = file->file;
    file->file = NULL;
    const bool synced = fflush(stream) == 0 && TEMP_FAILURE_RETRY(fsync(fileno(stream))) == 0;
    const int kept = errno;
    if (fclose(stream) != 0 || !synced) {
        if (!synced) errno = kept;
        const pumit_status status = fail_io("write", file->path);
        unlink(file->temporary);
        return status;
    }
    if (rename(file->temporary, file->path) != 0) {
        const pumit_status status = fail_io("rename onto", file->path);
        unlink(file->temporary);
        return status;
    }
    sync_folder_of(file->path);
    return PUMIT_OK;
}

void pumit__atomic_close(pumit__atomic_file *file)
{
    if (file->file) {
        fclose(file->file);
        unlink(file->temporary);
    }
    free(file->path);
    free(file->temporary);
    *file = (pumit__atomic_file){0};
}

pumit_status pumit__make_folder(const char *path)
{
    char *partial = pumit__strdup(path);
    if (!partial) return pumit__fail_memory((int64_t)strlen(path), "a path");
    pumit_status status = PUMIT_OK;
    for (char *p = partial + 1; status == PUMIT_OK; p++) {
        if (*p != '/' && *p != '\0') continue;
        const char kept = *p;
        *p = '\0';
        if (mkdir(partial, 0777) == 0)
            sync_folder_of(partial);
        else if (errno != EEXIST)
            status = fail_io("make the folder", path);
        *p = kept;
        if (kept == '\0') break;
    }
    struct stat info;
    if (status == PUMIT_OK && (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)))
        status = pumit__fail(PUMIT_ERROR_IO, "%s: is not a folder", path);
    free(partial);
    return status;
}

static pumit_status fail_size(const char *path, int64_t limit)
{
    return pumit__fail(PUMIT_ERROR_LIMIT, "%s: is larger than %lld bytes", path, (long long)limit);
}

pumit_status pumit__read_file(char **out, int64_t *bytes, const char *path, int64_t limit)
{
    *out = NULL;
    FILE *file = fopen(path, "rbe");
    if (!file) return fail_io("read", path);
    struct stat info;
    pumit_status status = PUMIT_OK;
    char *block = NULL;
    /* What says so itself is refused before memory is filled with it. */
    if (fstat(fileno(file), &info) == 0 && S_ISREG(info.st_mode) && info.st_size > limit) {
        fclose(file);
        return fail_size(path, limit);
    }
    int64_t used = 0, capacity = 0;
    for (;;) {
        if (!pumit__grow(&block, &capacity, used + 65536, 1)) {
            status = pumit__fail_memory(used + 65536, path);
            break;
        }
        const size_t got = fread(block + used, 1, (size_t)(capacity - used - 1), file);
        used += (int64_t)got;
        if (used > limit) {
            status = fail_size(path, limit);
            break;
        }
        if (got == 0) {
            if (ferror(file)) status = fail_io("read", path);
            break;
        }
    }
    fclose(file);
    if (status != PUMIT_OK) {
        free(block);
        return status;
    }
    block[used] = '\0';
    *out = block;
    if (bytes) *bytes = used;
    return PUMIT_OK;
}

bool pumit__ends_with(const char *name, const char *ending)
{
    const size_t n = strlen(name), e = strlen(ending);
    return n >= e && strcasecmp(name + n - e, ending) == 0;
}
