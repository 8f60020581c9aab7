/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/data/images.h"

pumit_status pumit__images_open(pumit__images *out, const pumit_context *ctx, const char *path,
                                const char *split, int64_t most_bytes)
{
    *out = (pumit__images){.ctx = ctx, .count = 1};
    PUMIT__TRY(pumit__sniff(&out->file, path));
    if (out->file.kind == PUMIT__FILE_ZIP)
        return pumit__archive_open(&out->archive, ctx, out->file.path, split, most_bytes);
    if (out->file.kind != PUMIT__FILE_NIFTI) return PUMIT_OK;
    PUMIT__TRY(pumit__nifti_open(&out->nifti, ctx, &out->file));
    out->count = pumit__nifti_count(out->nifti);
    return PUMIT_OK;
}

pumit_status pumit__images_next(pumit_volume **out, pumit__image_tag *tag, pumit__images *images)
{
    *out = NULL;
    *tag = (pumit__image_tag){PUMIT__NO_LABEL, images->next, ""};
    if (images->archive) return pumit__archive_next(out, tag, images->archive);
    if (images->next == images->count) return PUMIT_OK;
    images->next++;
    if (images->nifti) return pumit__nifti_read(out, images->nifti, images->next - 1);
    return pumit__picture_read(out, images->ctx, &images->file);
}

void pumit__images_close(pumit__images *images)
{
    pumit__nifti_close(images->nifti);
    pumit__archive_close(images->archive);
    pumit__sniffed_free(&images->file);
}
