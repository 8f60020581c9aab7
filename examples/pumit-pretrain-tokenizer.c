/* SPDX-License-Identifier: Apache-2.0 */
/* Pre-trains the universal visual tokenizer on images of any spacing. */
#include "examples/common/training.h"

static const cli_option OPTIONS[] = {
    TRAINING_OPTIONS,
    {"init", 0, 's', "PATH", "init", "start from a model, checkpoint, run or others' weights"},
    {"model", 0, 's', "simple|vqvae", "tokenizer.model", "which network"},
    {"mode", 0, 's', "soft|gumbel|nearest", "tokenizer.mode", "how features become tokens"},
    {"tokens", 0, 'j', "[D,H,W]", "train.tokens", "most tokens of a crop"},
    {"quant-weight", 0, 'n', "X", "train.quant_weight", "weight of the prior term"},
    {"entropy-weight", 0, 'n', "X", "train.entropy_weight", "weight of the entropy term"},
    {"lpips", 0, 's', "FILE", "train.lpips", "weights of the perceptual term; without: it is off"},
    {"gan-weight", 0, 'n', "X", "train.gan_weight", "weight of the generator's term; 0: off"},
    {0}};

static int body(cli *c)
{
    return training_run(c, "tokenizer");
}

int main(int argc, char **argv)
{
    cli c = {
        .program = "pumit-pretrain-tokenizer",
        .synopsis = "[OPTION]... --output DIR IMAGE|FOLDER|ARCHIVE|LIST...",
        .summary =
            "Trains a tokenizer that turns images of any spacing, 2D included, into soft tokens "
            "and back.\nThe result is DIR/model.safetensors; DIR/sheets shows originals above "
            "reconstructions.",
        .options = OPTIONS};
    return cli_main(&c, argc, argv, body);
}
