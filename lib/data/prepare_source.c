/* SPDX-License-Identifier: Apache-2.0 */
/* One source on its way into a prepared set: its images' keys, files and rows. */
#include "lib/data/images.h"
#include "lib/data/prepare.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MOST_STEM 80

/* An image that has its file, and waits for its row until the number of all is known. */
typedef struct {
    pumit__prepared_image image; /* without voxels */
    char *key;
    char modality[PUMIT__SOURCE_WORD], split[PUMIT__SOURCE_WORD];
    int64_t label, volume;
} entry;

typedef struct {
    const pumit__prepare_options *options;
    const pumit__source *source;
    const char *origin;
    char key[MOST_STEM + 32]; /* of the source; images of several add to it */
    pumit__fingerprint print;
    pumit__images images;
    entry *entries;
    int64_t count, capacity;
} job;

/* ------------------------------------------------------------------------------------------- names */

static void add_file(pumit__fingerprint *out, struct timespec *latest, const struct stat *info)
{
    const struct timespec time = info->st_mtim;
    out->bytes += info->st_size;
    if (time.tv_sec > latest->tv_sec ||
        (time.tv_sec == latest->tv_sec && time.tv_nsec > latest->tv_nsec))
        *latest = time;
}

pumit_status pumit__fingerprint_of(pumit__fingerprint *out, const char *path)
{
    static const char *const endings[] = {".hdr.gz", ".hdr"};
    struct stat info;
    struct timespec latest = {0};
    *out = (pumit__fingerprint){0};
    if (stat(path, &info) != 0)
        return pumit__fail(pumit__status_of_errno(errno), "%s: cannot read: %s", path,
                           strerror(errno));
    add_file(out, &latest, &info);
    for (int i = 0; i < 2; i++) {
        if (!pumit__ends_with(path, endings[i])) continue;
        const int stem = (int)(strlen(path) - strlen(endings[i]));
        for (int gzip = 0; gzip < 2; gzip++) {
            char *voxels = pumit__format("%.*s.img%s", stem, path, gzip ? ".gz" : "");
            if (!voxels) return pumit__fail_memory(stem, "a path");
            if (stat(voxels, &info) == 0) add_file(out, &latest, &info);
            free(voxels);
        }
        break;
    }
    snprintf(out->time, sizeof out->time, "%lld.%09ld", (long long)latest.tv_sec, latest.tv_nsec);
    return PUMIT_OK;
}

/* "scan-0123456789ab" for /data/scan.nii.gz: readable, and the same wherever the list of images begins. */
static void name_source(char *key, size_t bytes, const char *origin)
{
    static const char *const endings[] = {".nii.gz", ".hdr.gz", ".nii",  ".hdr", ".png", ".jpg",
                                          ".jpeg",   ".tif",    ".tiff", ".npy", ".npz"};
    const char *slash = strrchr(origin, '/'), *name = slash ? slash + 1 : origin;
    size_t length = strlen(name), kept = 0;
    for (int64_t i = 0; i < PUMIT__COUNT(endings); i++)
        if (pumit__ends_with(name, endings[i])) {
            length -= strlen(endings[i]);
            break;
        }
    for (; kept < length && kept < MOST_STEM; kept++) {
        const char c = name[kept];
        const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
                           (c >= 'a' && c <= 'z') || c == '-' || c == '_' || (c == '.' && kept);
        key[kept] = plain ? c : '_';
    }
    const uint64_t hash = pumit__random_stream(origin);
    snprintf(key + kept, bytes - kept, "-%012llx", (unsigned long long)(hash >> 16));
}

static char *name_image(const job *j, const pumit__image_tag *tag)
{
    const long long index = tag->index;
    if (j->images.archive) return pumit__format("%s-%s-%04lld", j->key, tag->split, index);
    return j->images.count > 1 ? pumit__format("%s-v%03lld", j->key, index) : pumit__strdup(j->key);
}

static const char *modality_of(const job *j, const pumit_volume *volume)
{
    const cJSON *rules = j->options->modality, *rule;
    if (*j->source->modality) return j->source->modality;
    if (cJSON_IsString(rules)) return rules->valuestring;
    for (rule = rules ? rules->child : NULL; rule; rule = rule->next)
        if (fnmatch(rule->child->valuestring, j->origin, 0) == 0)
            return rule->child->next->valuestring;
    return volume->modality;
}

/* Files that a list does not divide: held out by a hash, so that all volumes of one go the same way in every run. */
static const char *split_of(const job *j, const pumit__image_tag *tag)
{
    if (*tag->split) return tag->split;
    if (*j->source->split) return j->source->split;
    const uint64_t stream = pumit__random_stream(j->key);
    return pumit__random_uniform(0, stream, 0) < j->options->hold_out ? "val" : "";
}

/* -------------------------------------------------------------------------------------------- rows */

static void put_affine(pumit__csv_text *out, const double affine[16])
{
    for (int i = 0; i < 16; i++) {
        if (i) pumit__csv_bytes(out, " ", 1);
        pumit__csv_double(out, affine[i]);
    }
}

static void put_row(pumit__csv_text *out, const job *j, const entry *e, double weight)
{
    const pumit__prepared_image *p = &e->image;
    const int64_t *s = p->origin_shape;
    pumit__csv_string(out, e->key);
    pumit__csv_bytes(out, ",", 1);
    pumit__csv_string(out, e->modality);
    for (int i = 0; i < 3; i++) pumit__csv_print(out, ",%lld", (long long)p->shape[i]);
    for (int i = 0; i < 3; i++) {
        pumit__csv_bytes(out, ",", 1);
        pumit__csv_double(out, p->spacing[i]);
    }
    pumit__csv_print(out, ",%lld,", (long long)p->shape[3]);
    pumit__csv_double(out, weight);
    pumit__csv_bytes(out, ",", 1);
    pumit__csv_string(out, j->source->collection);
    pumit__csv_bytes(out, ",", 1);
    pumit__csv_string(out, e->split);
    pumit__csv_bytes(out, ",", 1);
    if (e->label >= 0) pumit__csv_print(out, "%lld", (long long)e->label);
    pumit__csv_print(out, ",%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,", p->least, p->most, p->mean,
                     p->deviation, p->low, p->high);
    pumit__csv_string(out, j->origin);
    pumit__csv_print(out, ",%lld,%lld,%lld,%s,%lldx%lldx%lld,", (long long)e->volume,
                     (long long)j->count, (long long)j->print.bytes, j->print.time, (long long)s[0],
                     (long long)s[1], (long long)s[2]);
    put_affine(out, p->origin_affine);
    pumit__csv_bytes(out, ",", 1);
    put_affine(out, p->affine);
    pumit__csv_bytes(out, "\n", 1);
}

/* n volumes of one scan are alike: together they count as little more than one, (2n - 1) / n. */
static pumit_status put_rows(pumit__prepared_source *out, const job *j)
{
    const double n = (double)j->count;
    const double share = j->images.archive ? 1 : (2 * n - 1) / (n * n);
    pumit__csv_locale locale;
    PUMIT__TRY(pumit__csv_locale_begin(&locale));
    for (int64_t i = 0; i < j->count; i++)
        put_row(&out->rows, j, &j->entries[i], share * j->source->weight);
    pumit__csv_locale_end(&locale);
    out->images = j->count;
    return out->rows.failed ? pumit__fail_memory(out->rows.length, "a table of images") : PUMIT_OK;
}

/* ---------------------------------------------------------------------------------------- images */

static pumit_status skip_image(pumit__prepared_source *out, const job *j,
                               const pumit__image_tag *tag)
{
    const long long index = tag->index;
    if (j->images.archive)
        pumit__csv_print(&out->skipped, "%s[%s %lld]", j->origin, tag->split, index);
    else if (j->images.count > 1)
        pumit__csv_print(&out->skipped, "%s[%lld]", j->origin, index);
    else
        pumit__csv_print(&out->skipped, "%s", j->origin);
    pumit__csv_bytes(&out->skipped, "", 1);
    pumit__csv_print(&out->skipped, "%s", pumit_last_error());
    pumit__csv_bytes(&out->skipped, "", 1);
    return out->skipped.failed ? pumit__fail_memory(0, "a list of files") : PUMIT_OK;
}

/* The table has room for one class number an image. */
static int64_t label_of(const job *j, const pumit__image_tag *tag)
{
    const pumit__label label = tag->label.value < 0 ? j->source->label : tag->label;
    return label.columns ? -1 : label.value;
}

static pumit_status keep_entry(job *j, const pumit_volume *volume, const pumit__image_tag *tag,
                               const pumit__prepared_image *image, char *key, int64_t number)
{
    if (!pumit__grow(&j->entries, &j->capacity, j->count + 1, sizeof *j->entries))
        return pumit__fail_memory((int64_t)sizeof *j->entries, "a table of images");
    entry *e = &j->entries[j->count++];
    *e = (entry){.image = *image, .key = key, .label = label_of(j, tag), .volume = number};
    e->image.voxels = NULL;
    snprintf(e->modality, sizeof e->modality, "%s", modality_of(j, volume));
    snprintf(e->split, sizeof e->split, "%s", split_of(j, tag));
    return PUMIT_OK;
}

/* Writes the file; takes nothing. */
static pumit_status keep_image(job *j, const pumit_volume *volume, const pumit__image_tag *tag,
                               const pumit__prepared_image *image, int64_t number)
{
    char *key = name_image(j, tag);
    char *path =
        key ? pumit__format("%s/%s/%s.npy", j->options->output, PUMIT__PREPARED_DATA, key) : NULL;
    pumit_status status =
        path ? pumit__prepare_write(image, path) : pumit__fail_memory(0, "a path");
    if (status == PUMIT_OK) status = keep_entry(j, volume, tag, image, key, number);
    if (status != PUMIT_OK) free(key);
    free(path);
    return status;
}

static pumit_status prepare_images(pumit__prepared_source *out, bool *fatal, job *j)
{
    for (int64_t number = 0;; number++) {
        pumit_volume *volume;
        pumit__image_tag tag;
        pumit__prepared_image image;
        PUMIT__TRY(pumit__images_next(&volume, &tag, &j->images));
        if (!volume) return PUMIT_OK;
        pumit_status status = pumit__prepare_image(&image, volume, j->options);
        if (status == PUMIT_OK) {
            status = keep_image(j, volume, &tag, &image, number);
            *fatal = status != PUMIT_OK;
        } else if (status != PUMIT_ERROR_OUT_OF_MEMORY) {
            status = skip_image(out, j, &tag);
        }
        free(image.voxels);
        pumit_volume_release(volume);
        PUMIT__TRY(status);
    }
}

void pumit__prepared_source_free(pumit__prepared_source *result)
{
    free(result->rows.text);
    free(result->skipped.text);
    *result = (pumit__prepared_source){0};
}

pumit_status pumit__prepare_source(pumit__prepared_source *out, bool *fatal,
                                   const pumit_context *limits, const pumit__source *source,
                                   const char *origin, const pumit__prepare_options *options)
{
    job j = {.options = options, .source = source, .origin = origin};
    *out = (pumit__prepared_source){0};
    *fatal = false;
    name_source(j.key, sizeof j.key, origin);
    pumit_status status = pumit__fingerprint_of(&j.print, origin);
    if (status == PUMIT_OK)
        status = pumit__images_open(&j.images, limits, origin, NULL, options->most_bytes);
    if (status == PUMIT_OK) status = prepare_images(out, fatal, &j);
    if (status == PUMIT_OK) status = put_rows(out, &j);
    pumit__images_close(&j.images);
    for (int64_t i = 0; i < j.count; i++) free(j.entries[i].key);
    free(j.entries);
    return status;
}
