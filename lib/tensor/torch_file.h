/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints of torch.save: a zip archive with a pickle (NAME/data.pkl) that says what there is, and one stored file for each
 * storage (NAME/data/KEY). The tensors of its state dict are entries: of the dict itself, or of what it holds under
 * "state_dict", "model" or "module". Other objects are passed over.
 */
#ifndef PUMIT_LIB_TORCH_FILE_H
#define PUMIT_LIB_TORCH_FILE_H

#include "lib/tensor/weights_file.h"

typedef struct pumit__torch_file pumit__torch_file;

/* True for what begins as a zip archive, or as the formats that torch.save wrote before 1.6 (which are then refused). */
bool pumit__torch_file_is(const unsigned char *data, int64_t bytes);

pumit_status pumit__torch_file_open(pumit__torch_file **out, const char *path);
/* NULL is fine. */
void pumit__torch_file_close(pumit__torch_file *file);

/* Entries in the order of their names, which differ. Borrowed. */
const pumit__weights_entry *pumit__torch_file_entries(const pumit__torch_file *file,
                                                      int64_t *count);
/* A storage that an entry lies in: mapped where it is stored, inflated once where it is compressed. Borrowed. */
pumit_status pumit__torch_file_block(const unsigned char **out, pumit__torch_file *file,
                                     int64_t block);
/* See pumit__weights_file_forget(). */
void pumit__torch_file_forget(const pumit__torch_file *file, const pumit__weights_entry *entry);

#endif
