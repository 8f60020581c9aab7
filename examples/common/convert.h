/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of others, made into models of this library. */
#ifndef EXAMPLES_COMMON_CONVERT_H
#define EXAMPLES_COMMON_CONVERT_H

#include "examples/common/cli.h"

/*
 * Writes the weights of the checkpoint `path` (PyTorch or safetensors) as a model file `output`, telling on stderr what was adapted.
 * What model it is says the program's configuration: "kind" ("vit", "tokenizer" or "classifier"; may be left out if there is one section
 * of that name), and in the section of that name, or at the top, the keys of its constructor. The section "convert" has the options of
 * pumit_module_import(). Gives the program's exit status.
 */
int convert_checkpoint(cli *c, const char *path, const char *output);

#endif
