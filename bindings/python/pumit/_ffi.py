# SPDX-License-Identifier: Apache-2.0
"""The C functions of libpumit, each once with its types, and the search for the library.

The library is looked for in the environment variable ``PUMIT_LIBRARY``, beside this package, in the
``lib`` folder that the package was installed under, and then by the loader as ``libpumit.so.0``.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_int64, c_uint8, c_uint64, c_void_p
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

ABI_VERSION = 0
SONAME = f"libpumit.so.{ABI_VERSION}"

VOID = None
I32, I64, U64, F64 = c_int32, c_int64, c_uint64, c_double
STATUS = c_int32
STRING = c_char_p
HANDLE = c_void_p  # any of the opaque handles
HANDLES = POINTER(c_void_p)  # an array of them
DATA = c_void_p  # an untyped array
OUT = POINTER(c_void_p)  # where a call puts a handle, or a string to be freed
OUT_STRING = POINTER(c_char_p)  # where a call puts a borrowed string
STRINGS = POINTER(c_char_p)
I32S, I64S, F64S, F32S = POINTER(c_int32), POINTER(c_int64), POINTER(c_double), POINTER(c_float)
U8S = POINTER(c_uint8)
LOG_FN = ctypes.CFUNCTYPE(None, c_void_p, c_int32, c_char_p)
PROGRESS_FN = ctypes.CFUNCTYPE(c_int32, c_void_p, c_int64, c_int64, c_char_p)
SEGMENT_FN = ctypes.CFUNCTYPE(c_int32, c_void_p, c_int64, c_int64)
PREPARE_FN = ctypes.CFUNCTYPE(c_int32, c_void_p, c_int64, c_int64, c_char_p)

#: name: (result, argument, argument, ...), in the order of the headers.
FUNCTIONS: dict[str, tuple] = {
    # base.h
    "pumit_status_name": (STRING, STATUS),
    "pumit_last_error": (STRING,),
    "pumit_version": (STRING,),
    "pumit_abi_version": (I32,),
    "pumit_free": (VOID, DATA),
    # config.h
    "pumit_config_create": (STATUS, OUT),
    "pumit_config_parse": (STATUS, OUT, STRING),
    "pumit_config_read": (STATUS, OUT, STRING),
    "pumit_config_release": (VOID, HANDLE),
    "pumit_config_set_int": (STATUS, HANDLE, STRING, I64),
    "pumit_config_set_double": (STATUS, HANDLE, STRING, F64),
    "pumit_config_set_bool": (STATUS, HANDLE, STRING, I32),
    "pumit_config_set_string": (STATUS, HANDLE, STRING, STRING),
    "pumit_config_set_json": (STATUS, HANDLE, STRING, STRING),
    "pumit_config_get_int": (STATUS, I64S, HANDLE, STRING, I64),
    "pumit_config_get_double": (STATUS, F64S, HANDLE, STRING, F64),
    "pumit_config_get_bool": (STATUS, I32S, HANDLE, STRING, I32),
    "pumit_config_get_string": (STATUS, OUT_STRING, HANDLE, STRING, STRING),
    "pumit_config_get_ints": (STATUS, I64S, I32, I32S, HANDLE, STRING),
    "pumit_config_get_section": (STATUS, OUT, HANDLE, STRING),
    "pumit_config_merge": (STATUS, HANDLE, HANDLE),
    "pumit_config_to_json": (STATUS, OUT, HANDLE),
    # context.h
    "pumit_context_create": (STATUS, OUT, HANDLE),
    "pumit_context_release": (VOID, HANDLE),
    "pumit_context_device": (STRING, HANDLE),
    "pumit_context_threads": (I32, HANDLE),
    "pumit_context_set_log": (VOID, HANDLE, LOG_FN, DATA),
    "pumit_context_set_recording": (I32, HANDLE, I32),
    "pumit_context_memory": (STATUS, HANDLE, I64S, I64S, I64S),
    "pumit_context_trim": (VOID, HANDLE),
    # tensor.h
    "pumit_dtype_size": (I64, I32),
    "pumit_tensor_create": (STATUS, OUT, HANDLE, I32, I32, I64S),
    "pumit_tensor_from_data": (STATUS, OUT, HANDLE, I32, I32, I64S, DATA),
    "pumit_tensor_retain": (HANDLE, HANDLE),
    "pumit_tensor_release": (VOID, HANDLE),
    "pumit_tensor_dtype": (I32, HANDLE),
    "pumit_tensor_ndim": (I32, HANDLE),
    "pumit_tensor_shape": (I64S, HANDLE),
    "pumit_tensor_count": (I64, HANDLE),
    "pumit_tensor_data": (STATUS, OUT, HANDLE),
    "pumit_tensor_touch": (VOID, HANDLE),
    "pumit_tensor_read": (STATUS, HANDLE, I32, DATA, I64),
    "pumit_tensor_write": (STATUS, HANDLE, I32, DATA, I64),
    "pumit_tensor_item": (STATUS, F64S, HANDLE),
    "pumit_tensor_set_requires_grad": (STATUS, HANDLE, I32),
    "pumit_tensor_backward": (STATUS, HANDLE),
    "pumit_tensor_grad": (STATUS, OUT, HANDLE),
    "pumit_tensor_to_dlpack": (STATUS, OUT, HANDLE),
    "pumit_tensor_from_dlpack": (STATUS, OUT, HANDLE, DATA),
    # module.h
    "pumit_module_kind": (STRING, HANDLE),
    "pumit_module_config": (STATUS, OUT, HANDLE),
    "pumit_module_parameter_count": (I64, HANDLE),
    "pumit_module_element_count": (I64, HANDLE),
    "pumit_module_parameter_name": (STRING, HANDLE, I64),
    "pumit_module_parameter": (HANDLE, HANDLE, I64),
    "pumit_module_find": (STATUS, OUT, HANDLE, STRING),
    "pumit_module_zero_grad": (VOID, HANDLE),
    "pumit_module_save": (STATUS, HANDLE, STRING, HANDLE),
    "pumit_module_load_weights": (STATUS, HANDLE, STRING, STRING, I32, I64S),
    "pumit_module_import": (STATUS, HANDLE, STRING, HANDLE),
    "pumit_model_file_info": (STATUS, OUT, STRING),
    "pumit_model_file_digest": (STATUS, OUT, STRING),
    # volume.h
    "pumit_degree_of_anisotropy": (STATUS, I32S, F64S),
    "pumit_volume_read": (STATUS, OUT, HANDLE, STRING, I64),
    "pumit_volume_file_count": (STATUS, I64S, HANDLE, STRING),
    "pumit_volume_create": (STATUS, OUT, HANDLE, I32, I64S, I64, DATA, F64S),
    "pumit_volume_release": (VOID, HANDLE),
    "pumit_volume_shape": (VOID, HANDLE, I64S),
    "pumit_volume_spacing": (VOID, HANDLE, F64S),
    "pumit_volume_anisotropy": (I32, HANDLE),
    "pumit_volume_affine": (VOID, HANDLE, F64S),
    "pumit_volume_source_axes": (VOID, HANDLE, I32S),
    "pumit_volume_modality": (STRING, HANDLE),
    "pumit_volume_voxels": (F32S, HANDLE),
    "pumit_volume_to_tensor": (STATUS, OUT, HANDLE, HANDLE, I64),
    "pumit_volume_to_patches": (STATUS, OUT, F64S, HANDLE, HANDLE, I64, I64S, I64),
    "pumit_write_png_sheet": (STATUS, STRING, HANDLE, I32),
    # label_map.h
    "pumit_label_map_create": (STATUS, OUT, HANDLE, HANDLE, U8S),
    "pumit_label_map_read": (STATUS, OUT, HANDLE, STRING, HANDLE),
    "pumit_label_map_write": (STATUS, HANDLE, STRING, HANDLE),
    "pumit_label_map_release": (VOID, HANDLE),
    "pumit_label_map_shape": (VOID, HANDLE, I64S),
    "pumit_label_map_spacing": (VOID, HANDLE, F64S),
    "pumit_label_map_labels": (U8S, HANDLE),
    # dataset.h
    "pumit_dataset_open": (STATUS, OUT, HANDLE, I32, STRINGS, HANDLE),
    "pumit_dataset_files": (STATUS, OUT, I32, STRINGS, HANDLE),
    "pumit_dataset_subset": (STATUS, OUT, HANDLE, HANDLE),
    "pumit_dataset_release": (VOID, HANDLE),
    "pumit_dataset_count": (I64, HANDLE),
    "pumit_dataset_skipped": (I64, HANDLE),
    "pumit_dataset_classes": (I64, HANDLE),
    "pumit_dataset_volume": (HANDLE, HANDLE, I64),
    "pumit_dataset_name": (STRING, HANDLE, I64),
    "pumit_dataset_label": (I64, HANDLE, I64),
    "pumit_dataset_label_map": (HANDLE, HANDLE, I64),
    "pumit_dataset_multilabel": (I32, HANDLE),
    "pumit_dataset_has_label": (I32, HANDLE, I64, I64),
    "pumit_dataset_class_name": (STRING, HANDLE, I64),
    # prepare.h
    "pumit_prepare": (STATUS, OUT, HANDLE, I32, STRINGS, HANDLE, PREPARE_FN, DATA),
    # sac.h
    "pumit_sac_conv_create": (STATUS, OUT, HANDLE, HANDLE),
    "pumit_sac_conv_release": (VOID, HANDLE),
    "pumit_sac_conv_module": (HANDLE, HANDLE),
    "pumit_sac_conv_forward": (STATUS, OUT, F64S, I32S, HANDLE, HANDLE, F64S, I32),
    "pumit_sac_conv_forward_da": (STATUS, OUT, I32S, HANDLE, HANDLE, I32, I32),
    # tokenizer.h
    "pumit_tokenizer_create": (STATUS, OUT, HANDLE, HANDLE),
    "pumit_tokenizer_load": (STATUS, OUT, HANDLE, STRING),
    "pumit_tokenizer_share": (STATUS, OUT, HANDLE, HANDLE),
    "pumit_tokenizer_release": (VOID, HANDLE),
    "pumit_tokenizer_module": (HANDLE, HANDLE),
    "pumit_tokenizer_codes": (I64, HANDLE),
    "pumit_tokenizer_channels": (I64, HANDLE),
    "pumit_tokenizer_patch": (I64S, HANDLE),
    "pumit_tokenizer_encode": (STATUS, OUT, HANDLE, HANDLE, F64S),
    "pumit_tokenizer_decode": (STATUS, OUT, HANDLE, HANDLE, F64S),
    "pumit_tokenizer_reconstruct": (STATUS, OUT, HANDLE, HANDLE, F64S),
    "pumit_tokenizer_loss": (STATUS, OUT, F64S, HANDLE, HANDLE, F64S, F64, F64),
    "pumit_tokenizer_set_step": (STATUS, HANDLE, I64, I64),
    "pumit_tokenizer_temperature": (F64, HANDLE),
    # vit.h
    "pumit_vit_create": (STATUS, OUT, HANDLE, HANDLE),
    "pumit_vit_load": (STATUS, OUT, HANDLE, STRING),
    "pumit_vit_share": (STATUS, OUT, HANDLE, HANDLE),
    "pumit_vit_release": (VOID, HANDLE),
    "pumit_vit_module": (HANDLE, HANDLE),
    "pumit_vit_dim": (I64, HANDLE),
    "pumit_vit_channels": (I64, HANDLE),
    "pumit_vit_patch": (I64S, HANDLE),
    "pumit_vit_set_recompute": (VOID, HANDLE, I32),
    "pumit_vit_grid": (STATUS, I64S, HANDLE, I64S, F64S),
    "pumit_vit_forward": (STATUS, OUT, HANDLE, HANDLE, F64S),
    "pumit_vit_embed": (STATUS, OUT, HANDLE, HANDLE),
    "pumit_vit_embed_packed": (STATUS, OUT, HANDLE, I64, HANDLES),
    "pumit_vit_random_visible": (STATUS, OUT, HANDLE, I64, I64, F64, U64),
    "pumit_vit_mim_loss": (STATUS, OUT, HANDLE, HANDLE, HANDLE, F64S, HANDLE),
    "pumit_vit_mim_loss_packed": (STATUS, OUT, HANDLE, HANDLE, I64, HANDLES, F64S, HANDLES),
    "pumit_vit_predict": (STATUS, OUT, HANDLE, HANDLE, F64S, HANDLE),
    # classifier.h
    "pumit_classifier_create": (STATUS, OUT, HANDLE, HANDLE),
    "pumit_classifier_load": (STATUS, OUT, HANDLE, STRING),
    "pumit_classifier_share": (STATUS, OUT, HANDLE, HANDLE),
    "pumit_classifier_release": (VOID, HANDLE),
    "pumit_classifier_module": (HANDLE, HANDLE),
    "pumit_classifier_vit": (HANDLE, HANDLE),
    "pumit_classifier_classes": (I64, HANDLE),
    "pumit_classifier_task": (I32, HANDLE),
    "pumit_classifier_class_name": (STRING, HANDLE, I64),
    "pumit_classifier_forward": (STATUS, OUT, HANDLE, HANDLE, F64S),
    "pumit_classifier_loss": (STATUS, OUT, HANDLE, HANDLE, F64S, I64S),
    "pumit_classifier_predict": (STATUS, OUT, HANDLE, HANDLE),
    # segmenter.h
    "pumit_segmenter_create": (STATUS, OUT, HANDLE, HANDLE),
    "pumit_segmenter_load": (STATUS, OUT, HANDLE, STRING),
    "pumit_segmenter_share": (STATUS, OUT, HANDLE, HANDLE),
    "pumit_segmenter_release": (VOID, HANDLE),
    "pumit_segmenter_module": (HANDLE, HANDLE),
    "pumit_segmenter_vit": (HANDLE, HANDLE),
    "pumit_segmenter_classes": (I64, HANDLE),
    "pumit_segmenter_adaptive": (I32, HANDLE),
    "pumit_segmenter_stride": (STATUS, I64S, HANDLE, F64S),
    "pumit_segmenter_forward": (STATUS, OUT, HANDLE, HANDLE, F64S),
    "pumit_segmenter_loss": (STATUS, OUT, HANDLE, HANDLE, F64S, HANDLE),
    # segment.h
    "pumit_segmenter_segment": (STATUS, OUT, HANDLE, HANDLE, HANDLE, SEGMENT_FN, DATA),
    # discriminator.h
    "pumit_discriminator_create": (STATUS, OUT, HANDLE, HANDLE),
    "pumit_discriminator_load": (STATUS, OUT, HANDLE, STRING),
    "pumit_discriminator_release": (VOID, HANDLE),
    "pumit_discriminator_module": (HANDLE, HANDLE),
    "pumit_discriminator_forward": (STATUS, OUT, HANDLE, HANDLE, F64S),
    "pumit_discriminator_loss": (STATUS, OUT, HANDLE, HANDLE, HANDLE, F64S),
    "pumit_discriminator_generator_loss": (STATUS, OUT, HANDLE, HANDLE, F64S),
    # lpips.h
    "pumit_lpips_create": (STATUS, OUT, HANDLE, HANDLE),
    "pumit_lpips_load": (STATUS, OUT, HANDLE, STRING),
    "pumit_lpips_release": (VOID, HANDLE),
    "pumit_lpips_module": (HANDLE, HANDLE),
    "pumit_lpips_distance": (STATUS, OUT, HANDLE, HANDLE, HANDLE),
    # optimizer.h
    "pumit_optimizer_create": (STATUS, OUT, HANDLE, HANDLE),
    "pumit_optimizer_release": (VOID, HANDLE),
    "pumit_optimizer_step": (STATUS, HANDLE, F64, I32, F64S),
    "pumit_optimizer_steps": (I64, HANDLE),
    "pumit_cosine_rate": (F64, I64, F64, I64, I64, F64),
    # scores.h
    "pumit_classification_scores": (STATUS, F64S, F64S, I32, I64, I64, F64S, I64S),
    "pumit_classification_report": (STATUS, OUT, I32, I64, I64, F64S, I64S, HANDLE),
    # segmentation_scores.h
    "pumit_segmentation_scores": (STATUS, F64S, F64S, F64S, I64, HANDLE, HANDLE, F64),
    "pumit_segmentation_report_create": (STATUS, OUT, HANDLE),
    "pumit_segmentation_report_release": (VOID, HANDLE),
    "pumit_segmentation_report_add": (STATUS, HANDLE, STRING, HANDLE, HANDLE),
    "pumit_segmentation_report_to_json": (STATUS, OUT, HANDLE),
    # train.h
    "pumit_trainer_create": (STATUS, OUT, HANDLE, HANDLE, HANDLE, HANDLE),
    "pumit_trainer_release": (VOID, HANDLE),
    "pumit_trainer_set_progress": (VOID, HANDLE, PROGRESS_FN, DATA),
    "pumit_trainer_run": (STATUS, HANDLE),
    "pumit_trainer_stop": (VOID, HANDLE),
    "pumit_trainer_summary": (STATUS, OUT, HANDLE),
    "pumit_trainer_model_path": (STRING, HANDLE),
}


def _candidates() -> list[str]:
    """Where the library may be, best first."""
    named = os.environ.get("PUMIT_LIBRARY")
    if named:
        return [named]
    package = Path(__file__).resolve().parent
    # dist-packages/pumit lies in PREFIX/lib/pythonX.Y, the library in PREFIX/lib.
    near = [package / SONAME, package.parents[2] / SONAME]
    return [str(path) for path in near if path.exists()] + [SONAME]


def _open() -> ctypes.CDLL:
    failures = []
    for path in _candidates():
        try:
            return ctypes.CDLL(path)
        except OSError as failure:
            failures.append(str(failure))
    raise ImportError(
        f"{SONAME} cannot be loaded ({'; '.join(failures)}); "
        "install libpumit or set PUMIT_LIBRARY to the file"
    )


def _binding(function: Callable[..., Any], types: tuple) -> Callable[..., Any]:
    """Gives a function its types; objects of this package are passed as their handles.

    ctypes would take them as well, but turn the exception of a closed one into an ArgumentError.
    """
    function.restype, *function.argtypes = types  # type: ignore[attr-defined]
    if HANDLE not in types[1:]:
        return function

    def call(*arguments: Any) -> Any:
        return function(*[getattr(each, "_as_parameter_", each) for each in arguments])

    return call


def _bind(library: ctypes.CDLL) -> SimpleNamespace:
    """All functions, once the library has said that it is the right one."""
    library.pumit_abi_version.restype = I32
    found = library.pumit_abi_version()
    if found != ABI_VERSION:
        raise ImportError(
            f"libpumit has binary interface {found}, this package needs {ABI_VERSION}: "
            "install both from the same release"
        )
    return SimpleNamespace(
        **{name: _binding(getattr(library, name), types) for name, types in FUNCTIONS.items()}
    )


lib = _bind(_open())
