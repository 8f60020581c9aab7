/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/program.h"
#include "tests/image_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *program_path(const char *program)
{
    static char path[4096];
    const char *const folder = getenv("PUMIT_BIN");
    if (folder) {
        snprintf(path, sizeof path, "%s/%s", folder, program);
        return path;
    }
    char self[2048];
    const ssize_t got = readlink("/proc/self/exe", self, sizeof self - 1);
    ck_assert_int_gt(got, 0);
    self[got] = '\0';
    for (int i = 0; i < 2; i++) *strrchr(self, '/') = '\0';
    snprintf(path, sizeof path, "%s/bin/%s", self, program);
    return path;
}

static void redirect(const char *name, int onto)
{
    const int fd = open(files_path(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || dup2(fd, onto) < 0) _exit(99);
}

pid_t program_start(char **words)
{
    const char *const path = program_path(words[0]);
    ck_assert_msg(access(path, X_OK) == 0, "%s is not built", path);
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        redirect("stdout", 1);
        redirect("stderr", 2);
        execv(path, words);
        _exit(98);
    }
    return child;
}
