/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/common/output_names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const ENDINGS[] = {".nii.gz", ".nii",  ".hdr.gz", ".hdr",  ".img.gz", ".img",
                                      ".png",    ".jpeg", ".jpg",    ".tiff", ".tif",    ".npy"};

static bool ends_with(const char *path, const char *ending)
{
    const size_t n = strlen(path), e = strlen(ending);
    return n >= e && strcasecmp(path + n - e, ending) == 0;
}

/* Length of a path without the ending of an image file. */
static size_t stem_of(const char *path)
{
    for (size_t i = 0; i < sizeof ENDINGS / sizeof *ENDINGS; i++)
        if (ends_with(path, ENDINGS[i])) return strlen(path) - strlen(ENDINGS[i]);
    return strlen(path);
}

static char *join(const char *folder, const char *name, size_t bytes, const char *ending)
{
    const size_t length = folder ? strlen(folder) : 0;
    const char *const between = length > 0 && folder[length - 1] != '/' ? "/" : "";
    const size_t all = length + 1 + bytes + strlen(ending) + 1;
    char *out = malloc(all);
    if (out)
        snprintf(out, all, "%s%s%.*s%s", folder ? folder : "", between, (int)bytes, name, ending);
    return out;
}

char *output_beside(const char *path, const char *ending)
{
    return join(NULL, path, stem_of(path), ending);
}

static bool is_label_map(const char *path)
{
    return ends_with(path, ".nii.gz") || ends_with(path, ".nii") || ends_with(path, ".png");
}

/* "map.jpg" is no folder's name. */
static bool is_other_file(const char *path)
{
    return stem_of(path) < strlen(path) && !is_label_map(path);
}

int output_start(output_names *names, const cli *c, int images, const char *beside)
{
    struct stat info;
    *names = (output_names){
        .output = cli_value(c, "output"), .beside = beside, .overwrite = cli_given(c, "overwrite")};
    const bool there = stat(names->output, &info) == 0;
    const bool file = is_label_map(names->output);
    names->folder = there ? S_ISDIR(info.st_mode) : !file;
    if (names->folder ? !there && is_other_file(names->output) : !file)
        return cli_wrong_usage(
            c, "%s: a label map's file ends in .nii.gz, .nii or, of a picture, .png",
            names->output);
    if (!names->folder && images > 1)
        return cli_wrong_usage(c, "%s: several images need a folder as --output", names->output);
    if (!names->folder || there) return CLI_DONE;
    if (mkdir(names->output, 0777) == 0) return CLI_DONE;
    return cli_fail_with(c, "%s: cannot make the folder: %s", names->output, strerror(errno));
}

void output_end(output_names *names)
{
    for (int i = 0; i < names->count; i++) free(names->taken[i]);
    free(names->taken);
}

static char *choose(const output_names *names, const char *image)
{
    const bool picture =
        ends_with(image, ".png") || ends_with(image, ".jpg") || ends_with(image, ".jpeg");
    const char *const slash = strrchr(image, '/'), *const base = slash ? slash + 1 : image;
    if (!names->folder) return join(NULL, names->output, strlen(names->output), "");
    return join(names->output, base, stem_of(base), picture ? ".png" : ".nii.gz");
}

static bool keep(output_names *names, char *name)
{
    if (names->count == names->capacity) {
        const int more = 2 * names->capacity + 16;
        char **taken = realloc(names->taken, (size_t)more * sizeof *taken);
        if (!taken) return false;
        names->taken = taken;
        names->capacity = more;
    }
    names->taken[names->count++] = name;
    return true;
}

static char *folder_of(const char *name)
{
    const char *const slash = strrchr(name, '/');
    return slash ? join(NULL, name, (size_t)(slash - name) + 1, "") : join(NULL, ".", 1, "");
}

static bool second_is_there(const output_names *names, const char *name)
{
    char *second = names->beside ? output_beside(name, names->beside) : NULL;
    const bool there = second && access(second, F_OK) == 0;
    free(second);
    return there;
}

/* Why not, NULL if nothing speaks against it: found out before the work, not after it. */
static const char *objection(const output_names *names, const char *image, const char *name)
{
    struct stat there, source;
    char *folder = folder_of(name);
    const bool writable = folder && access(folder, W_OK) == 0;
    free(folder);
    if (!writable) return strerror(errno);
    if (ends_with(name, ".png") && strstr(image, ".nii"))
        return "only a picture's label map becomes PNG: name it .nii.gz";
    for (int i = 0; i < names->count; i++)
        if (strcmp(names->taken[i], name) == 0) return "another image of this call goes there";
    if (!names->overwrite && second_is_there(names, name))
        return "its second file is there already (--overwrite replaces it)";
    if (stat(name, &there) != 0) return NULL;
    if (stat(image, &source) == 0 && there.st_dev == source.st_dev && there.st_ino == source.st_ino)
        return "that is the image itself";
    return names->overwrite ? NULL : "it is there already (--overwrite replaces it)";
}

const char *output_name(output_names *names, const char *image, char *refusal, size_t bytes)
{
    char *const name = choose(names, image);
    if (!name) {
        snprintf(refusal, bytes, "out of memory");
        return NULL;
    }
    const char *const why = objection(names, image, name);
    if (why) {
        snprintf(refusal, bytes, "not written to %s: %s", name, why);
        free(name);
        return NULL;
    }
    if (keep(names, name)) return name;
    free(name);
    snprintf(refusal, bytes, "out of memory");
    return NULL;
}
