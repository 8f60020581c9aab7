/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file pumit.h
 * Everything a program needs. Plugins include backend.h instead.
 */
#ifndef PUMIT_PUMIT_H
#define PUMIT_PUMIT_H

#include <pumit/base.h>
#include <pumit/classifier.h>
#include <pumit/config.h>
#include <pumit/context.h>
#include <pumit/dataset.h>
#include <pumit/discriminator.h>
#include <pumit/label_map.h>
#include <pumit/lpips.h>
#include <pumit/module.h>
#include <pumit/optimizer.h>
#include <pumit/prepare.h>
#include <pumit/sac.h>
#include <pumit/scores.h>
#include <pumit/segment.h>
#include <pumit/segmentation_scores.h>
#include <pumit/segmenter.h>
#include <pumit/tensor.h>
#include <pumit/tokenizer.h>
#include <pumit/train.h>
#include <pumit/vit.h>
#include <pumit/volume.h>

#endif
