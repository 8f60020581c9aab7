/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/answer.h"
#include "tests/image_files.h"
#include "tests/program.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define MOST_WORDS 24

void read_text(char *text, size_t bytes, const char *name)
{
    FILE *file = fopen(files_path(name), "r");
    ck_assert_ptr_nonnull(file);
    text[fread(text, 1, bytes - 1, file)] = '\0';
    fclose(file);
}

const answer *run(const char *line)
{
    static answer a;
    static char copy[8192];
    char *words[MOST_WORDS + 1] = {0}, *rest = NULL;
    int count = 0, status;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        ck_assert_int_lt(count, MOST_WORDS);
        words[count++] = word;
    }
    ck_assert_int_gt(waitpid(program_start(words), &status, 0), 0);
    ck_assert_msg(WIFEXITED(status), "%s: ended by signal %d", line, WTERMSIG(status));
    a.status = WEXITSTATUS(status);
    read_text(a.out, sizeof a.out, "stdout");
    read_text(a.err, sizeof a.err, "stderr");
    return &a;
}

const answer *runf(const char *format, ...)
{
    char line[8192];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    return run(line);
}

void check_line(const answer *a, int status, const char *program, const char *part)
{
    const char *const end = strchr(a->err, '\n');
    ck_assert_msg(a->status == status, "%s: exit status %d: %s", program, a->status, a->err);
    ck_assert_msg(end && end[1] == '\0', "%s: not one line: %s", program, a->err);
    ck_assert_msg(strncmp(a->err, program, strlen(program)) == 0 &&
                      strncmp(a->err + strlen(program), ": ", 2) == 0,
                  "%s: %s", program, a->err);
    ck_assert_msg(strstr(a->err, part) != NULL, "%s: \"%s\" lacks \"%s\"", program, a->err, part);
    ck_assert_msg(a->out[0] == '\0', "%s: stdout: %s", program, a->out);
}

void check_done(const answer *a)
{
    ck_assert_msg(a->status == 0, "exit status %d: %s", a->status, a->err);
}

double number(const cJSON *tree, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(tree, key);
    ck_assert_msg(cJSON_IsNumber(item), "%s is missing", key);
    return item->valuedouble;
}

cJSON *parsed(const answer *a)
{
    check_done(a);
    cJSON *tree = cJSON_Parse(a->out);
    ck_assert_msg(tree != NULL, "no JSON: %s", a->out);
    return tree;
}
