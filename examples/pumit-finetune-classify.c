/* SPDX-License-Identifier: Apache-2.0 */
/* Trains a classifier on labelled images, from a pre-trained transformer or from scratch. */
#include "examples/common/training.h"

static const cli_option OPTIONS[] = {
    TRAINING_OPTIONS,
    {"init", 0, 's', "PATH", "init", "start from a model, checkpoint, run or others' weights"},
    {"from-scratch", 0, 'b', NULL, "from_scratch", "the network of --init with new weights"},
    SUBSET_OPTIONS,
    {"task", 0, 's', "NAME", "train.task", "classes (default), or grades: classes in an order"},
    {"class-weights", 0, 'j', "LIST", "train.class_weights", "balanced, or a number a class"},
    {"layer-decay", 0, 'n', "X", "train.layer_decay", "of the learning rate from layer to layer"},
    {"mixup", 0, 'n', "ALPHA", "train.mixup", "mix images and labels, such as 0.2"},
    {"patience", 0, 'i', "N", "train.patience", "stop after so many validations without gain"},
    {"freeze-backbone", 0, 'b', NULL, "freeze_backbone", "train the head alone"},
    {"folders-are-labels", 0, 'b', NULL, "folders_are_labels", "a folder of one folder per class"},
    {"image-tokens", 0, 'j', "[D,H,W]", "train.image_tokens", "grid of patches of an image"},
    {0}};

static int body(cli *c)
{
    return training_run(c, "classify");
}

int main(int argc, char **argv)
{
    cli c = {.program = "pumit-finetune-classify",
             .synopsis = "[OPTION]... --output DIR ARCHIVE|LIST|FOLDER...",
             .summary = "Trains a classifier on labelled images: an .npz of MedMNIST's layout, a "
                        ".csv with columns path, split\nand label (numbers or names of classes) or "
                        "label.NAME (0 or 1, any number of them), or with\n--folders-are-labels "
                        "one folder per class. The weights with the best validation AUC are\n"
                        "kept. pumit-classify applies the result, DIR/model.safetensors.",
             .options = OPTIONS};
    return cli_main(&c, argc, argv, body);
}
