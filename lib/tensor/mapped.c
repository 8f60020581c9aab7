/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/tensor/mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static pumit_status fail_open(const char *path)
{
    return pumit__fail(pumit__status_of_errno(errno), "%s: cannot read: %s", path, strerror(errno));
}

pumit_status pumit__mapped_open(pumit__mapped *out, const char *path)
{
    *out = (pumit__mapped){0};
    PUMIT__REQUIRE(path, "the path of a model file is NULL");
    /* Without O_NONBLOCK a named pipe would be waited for. */
    const int fd = TEMP_FAILURE_RETRY(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat info;
    if (fd < 0) return fail_open(path);
    pumit_status status = PUMIT_OK;
    if (fstat(fd, &info) != 0)
        status = fail_open(path);
    else if (!S_ISREG(info.st_mode))
        status = pumit__fail(PUMIT_ERROR_FORMAT, "%s: is not a regular file", path);
    else if (info.st_size == 0)
        status = pumit__fail(PUMIT_ERROR_FORMAT, "%s: is empty", path);
    if (status == PUMIT_OK) {
        void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
            status = fail_open(path);
        else
            *out = (pumit__mapped){map, info.st_size};
    }
    close(fd);
    return status;
}

void pumit__mapped_forget(const pumit__mapped *file, const void *part, int64_t bytes)
{
    const int64_t page = sysconf(_SC_PAGESIZE);
    if (page <= 0) return;
    const int64_t start = (const unsigned char *)part - file->data;
    const int64_t first = (start + page - 1) / page * page, end = (start + bytes) / page * page;
    union {
        const unsigned char *data;
        void *memory;
    } map = {file->data + first};
    if (first < end) madvise(map.memory, (size_t)(end - first), MADV_DONTNEED);
}

void pumit__mapped_close(pumit__mapped *file)
{
    union {
        const unsigned char *data;
        void *memory; /* as mmap gave it */
    } map = {file->data};
    if (file->data) munmap(map.memory, (size_t)file->bytes);
    *file = (pumit__mapped){0};
}
