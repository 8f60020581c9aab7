# SPDX-License-Identifier: Apache-2.0
"""The table of C functions against the headers and against what the library exports."""

import ctypes
import os
import re
import subprocess
import sys
import unittest

import pumit
from pumit import _ffi
from support import ROOT, Case, declarations

POINTER = ctypes.POINTER
SCALARS = {
    "void": None,
    "int32_t": ctypes.c_int32,
    "pumit_status": ctypes.c_int32,
    "pumit_dtype": ctypes.c_int32,
    "pumit_task": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "double": ctypes.c_double,
    "pumit_log_fn": _ffi.LOG_FN,
    "pumit_progress_fn": _ffi.PROGRESS_FN,
    "pumit_prepare_fn": _ffi.PREPARE_FN,
    "pumit_segment_fn": _ffi.SEGMENT_FN,
}
POINTERS = {
    "char *": ctypes.c_char_p,
    "char **": POINTER(ctypes.c_void_p),  # to be freed
    "const char **": POINTER(ctypes.c_char_p),
    "void *": ctypes.c_void_p,
    "void **": POINTER(ctypes.c_void_p),
    "float *": POINTER(ctypes.c_float),
    "uint8_t *": POINTER(ctypes.c_uint8),
}


def ctype_of(spelling):
    """The ctypes type that a C type has to have in the table."""
    plain = spelling.replace("const ", "")
    for known in (spelling, plain):
        if known in SCALARS or known in POINTERS:
            return SCALARS.get(known) or POINTERS.get(known)
    base, stars = plain.split()
    if base in SCALARS:
        return POINTER(SCALARS[base])
    return ctypes.c_void_p if stars == "*" else POINTER(ctypes.c_void_p)


class Interface(unittest.TestCase):
    def test_every_function_is_bound_and_no_other(self):
        declared = declarations()
        self.assertGreater(len(declared), 100)
        self.assertEqual(sorted(declared), sorted(_ffi.FUNCTIONS))

    def test_types_are_those_of_the_headers(self):
        for name, (result, arguments) in declarations().items():
            wanted = tuple(ctype_of(each) for each in [result] + arguments)
            self.assertEqual(_ffi.FUNCTIONS[name], wanted, name)

    def test_the_cxx_classes_use_every_function(self):
        text = "".join(path.read_text() for path in (ROOT / "bindings/cxx/pumit").glob("*.hpp"))
        self.assertEqual(set(declarations()) - set(re.findall(r"\bpumit_\w+", text)), set())

    def test_the_header_tells_every_training_key(self):
        table = (ROOT / "lib/train/options.c").read_text()
        keys = re.findall(r'^    \{"(\w+)", [A-Z]', table, re.MULTILINE)
        self.assertGreater(len(keys), 40)
        told = re.findall(r'"train\.(\w+)"', (ROOT / "include/pumit/train.h").read_text())
        self.assertEqual(sorted(set(keys) - set(told)), [])

    def test_statuses_have_their_exceptions(self):
        text = (ROOT / "include/pumit/base.h").read_text()
        codes = dict(re.findall(r"#define (PUMIT_ERROR_\w+)\s+\((-\d+)\)", text))
        classes = {kind.status: kind for kind in pumit.Error.__subclasses__()}
        self.assertEqual(sorted(classes), sorted(int(code) for code in codes.values()))
        for name, code in codes.items():
            self.assertEqual(pumit.status_name(int(code)), name)

    def test_releases_agree(self):
        text = (ROOT / "include/pumit/base.h").read_text()
        numbers = re.findall(r"#define PUMIT_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", text)
        self.assertEqual(pumit.__version__, ".".join(numbers))
        project = (ROOT / "bindings/python/pyproject.toml").read_text()
        self.assertIn(f'version = "{pumit.__version__}"', project)
        self.assertIn(f"VERSION := {pumit.__version__}\n", (ROOT / "Makefile").read_text())

    def test_everything_public_is_documented(self):
        for name in pumit.__all__:
            thing = getattr(pumit, name)
            if isinstance(thing, (int, dict)):
                continue
            self.assertTrue(thing.__doc__, name)
            for member, value in vars(thing).items() if isinstance(thing, type) else ():
                if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                    self.assertTrue(value.__doc__, f"{name}.{member}")


class Loading(Case):
    def run_python(self, code, **environment):
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )

    def test_a_library_that_is_missing_is_named(self):
        done = self.run_python("import pumit", PUMIT_LIBRARY="/nowhere/libpumit.so.0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("ImportError: libpumit.so.0 cannot be loaded (/nowhere/", done.stderr)

    def test_a_library_of_another_interface_is_refused(self):
        source, library = self.folder / "other.c", self.folder / "other.so"
        source.write_text("int pumit_abi_version(void) { return 7; }\n")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        done = self.run_python("import pumit", PUMIT_LIBRARY=str(library), LD_PRELOAD="")
        self.assertEqual(done.returncode, 1)
        self.assertIn("binary interface 7, this package needs 0", done.stderr)

    def test_the_process_ends_quietly_with_everything_alive(self):
        code = """
import pumit, numpy
context = pumit.Context(threads=1)
context.set_log(lambda level, message: None)
tensor = pumit.Tensor(context, numpy.arange(6.0))
view, shared = tensor.numpy(), numpy.from_dlpack(tensor)
vit = pumit.Vit(context, {"dim": 8, "depth": 1, "heads": 1, "hidden": 8, "patch": [8, 8, 8]})
parameters, backbone = vit.parameters(), pumit.Classifier(vit, {"classes": 2}).vit
volume = pumit.Volume(context, numpy.ones((1, 8, 8), numpy.float32))
voxels, capsule = volume.voxels, tensor.__dlpack__()
cycle = [vit]
cycle.append(cycle)
"""
        done = self.run_python(code)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
