/* SPDX-License-Identifier: Apache-2.0 */
/* Pre-trains the universal vision transformer by masked modelling of a tokenizer's soft tokens. */
#include "examples/common/training.h"

static const cli_option OPTIONS[] = {
    TRAINING_OPTIONS,
    {"tokenizer", 0, 's', "FILE", "tokenizer.file", "the trained tokenizer; required"},
    {"init", 0, 's', "PATH", "init", "start from a model, checkpoint, run or others' weights"},
    {"mask-layers", 0, 'j', "[I,...]", "vit.mask_layers", "blocks that see mask tokens"},
    {"packing", 0, 'b', NULL, "train.packing", "batches of images of any spacing and depth"},
    {"recompute", 0, 'b', NULL, "train.recompute", "less memory, a third more time"},
    {"tokens", 0, 'j', "[D,H,W]", "train.tokens", "most tokens of a crop"},
    {"mask-ratio", 0, 'n', "X", "train.mask_ratio", "share of the tokens that is hidden"},
    {0}};

static int body(cli *c)
{
    return training_run(c, "vit");
}

int main(int argc, char **argv)
{
    cli c = {
        .program = "pumit-pretrain-vit",
        .synopsis = "[OPTION]... --tokenizer FILE --output DIR IMAGE|FOLDER|ARCHIVE|LIST...",
        .summary =
            "Trains a transformer to guess the tokens of hidden patches.\nThe result is "
            "DIR/model.safetensors; the rows of DIR/sheets are original, reconstruction by the "
            "tokenizer,\nwhat the transformer saw, and what it made of it.",
        .options = OPTIONS};
    return cli_main(&c, argc, argv, body);
}
