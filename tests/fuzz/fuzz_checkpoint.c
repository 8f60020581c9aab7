/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checkpoint of a small run, which goes on from it: as it is, or from the text of its header (safetensors.c), with zeros as values.
 */
#include "tests/fuzz/fuzz.h"

#include "lib/train/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#define CONFIG                                                                                     \
    "{\"recipe\":\"classify\",\"vit\":{\"patch\":[1,2,2],\"in_channels\":1,\"dim\":4,\"depth\":1," \
    "\"heads\":1,\"hidden\":4,\"pos_embed_shape\":[1,2,2]},\"train\":{\"steps\":2,\"batch\":2,"    \
    "\"warmup\":1,\"workers\":0}}"

static pumit_dataset *open_images(void)
{
    uint8_t pixels[8 * 16];
    size_t image_bytes, label_bytes;
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 7);
    uint8_t *images = fuzz_array(&image_bytes, "|u1", "(8, 4, 4)", pixels, sizeof pixels);
    uint8_t *labels = fuzz_array(&label_bytes, "|u1", "(8,)", "\0\1\0\1\0\1\0\1", 8);
    const fuzz_member members[] = {{"train_images.npy", images, image_bytes},
                                   {"train_labels.npy", labels, label_bytes}};
    const char *path = fuzz_zip("images.npz", members, 2);
    pumit_dataset *dataset;
    fuzz_require(pumit_dataset_open(&dataset, fuzz_context(), 1, &path, NULL) == PUMIT_OK,
                 "images of a run");
    free(images);
    free(labels);
    return dataset;
}

static pumit_trainer *open_run(void)
{
    static pumit_trainer *trainer;
    if (trainer) return trainer;
    pumit_config *config = fuzz_config(CONFIG);
    pumit_dataset *images = open_images();
    fuzz_require(pumit_config_set_string(config, "output", fuzz_path("run")) == PUMIT_OK &&
                     pumit_trainer_create(&trainer, fuzz_context(), images, NULL, config) ==
                         PUMIT_OK,
                 "a run");
    pumit_config_release(config);
    return trainer;
}

static void load(const char *path)
{
    pumit__safetensors *file;
    pumit_config *config;
    pumit_trainer *trainer = open_run();
    if (!fuzz_took(pumit__checkpoint_open(&file, path))) return;
    if (fuzz_took(pumit__checkpoint_config(&config, file, path))) pumit_config_release(config);
    fuzz_took(pumit__checkpoint_weights(trainer->model, "model", file, path));
    if (fuzz_took(pumit__checkpoint_load(trainer, file, path)))
        fuzz_require(trainer->step >= 0 && trainer->best_step >= 0, "counters are not negative");
    cJSON_Delete(trainer->validation);
    trainer->validation = NULL;
    pumit__safetensors_close(file);
}

int fuzz_checkpoint(const uint8_t *data, size_t bytes)
{
    size_t made_bytes;
    uint8_t *made = bytes && data[0] == '{' ? fuzz_from_header(&made_bytes, data, bytes) : NULL;
    load(made ? fuzz_file("checkpoint.safetensors", made, made_bytes)
              : fuzz_file("checkpoint.safetensors", data, bytes));
    free(made);
    return 0;
}

FUZZ_TARGET(fuzz_checkpoint)
