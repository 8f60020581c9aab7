/* SPDX-License-Identifier: Apache-2.0 */
/* Trains a segmenter on images with label maps, from a pre-trained transformer or from scratch. */
#include "examples/common/training.h"

static const cli_option OPTIONS[] = {
    TRAINING_OPTIONS,
    {"init", 0, 's', "PATH", "init", "start from a model, checkpoint, run or others' weights"},
    {"from-scratch", 0, 'b', NULL, "from_scratch", "the network of --init with new weights"},
    SUBSET_OPTIONS,
    {"spacing", 0, 'j', "[D,H,W]", "train.spacing", "mm to work at; 0: an image's own (default)"},
    {"window", 0, 'j', "[D,H,W]", "train.tokens", "tokens of a patch"},
    {"fixed", 0, 'b', NULL, NULL, "a network for one degree of anisotropy alone"},
    {0}};

static int body(cli *c)
{
    pumit_status status = pumit_config_set_bool(c->config, "label_maps", 1);
    if (status == PUMIT_OK && cli_given(c, "fixed"))
        status = pumit_config_set_bool(c->config, "segmenter.adaptive", 0);
    if (status != PUMIT_OK) return cli_fail(c);
    return training_run(c, "segment");
}

int main(int argc, char **argv)
{
    cli c = {.program = "pumit-finetune-segment",
             .synopsis = "[OPTION]... --output DIR FOLDER|DATASET.JSON|LIST...",
             .summary = "Trains a segmenter on images with label maps: a folder with imagesTr and "
                        "labelsTr, a Decathlon\ndataset.json, or a .csv with columns path, "
                        "label_map and split. The weights with the best validation\nDice are kept. "
                        "pumit-segment applies the result, DIR/model.safetensors.",
             .options = OPTIONS};
    return cli_main(&c, argc, argv, body);
}
