/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file pumit.hpp
 * libpumit for C++17: the handles of the C headers as move-only classes, statuses as exceptions.
 *
 * Header only; link libpumit. Each class stands for one handle and forwards to the C functions of the
 * same name, where shapes, units and keys are described. get() gives the C handle. A context and what
 * was made from it belong to one thread at a time.
 */
#ifndef PUMIT_HPP
#define PUMIT_HPP

#include <pumit/core.hpp>
#include <pumit/images.hpp>
#include <pumit/models.hpp>
#include <pumit/scores.hpp>
#include <pumit/training.hpp>

#endif
