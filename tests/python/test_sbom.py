# SPDX-License-Identifier: Apache-2.0
"""The SBOM against the fields that SPDX 2.3 requires, the library, and docs/dependencies.md."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(os.environ.get("PUMIT_SOURCE", Path(__file__).resolve().parents[2]))
LIBRARY = Path(os.environ.get("PUMIT_LIBRARY", ROOT / "build" / "libpumit.so.0"))
ID = re.compile(r"SPDXRef-[A-Za-z0-9.-]+")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
CREATOR = re.compile(r"(Person|Organization|Tool): \S.*")
# Clause 7 of the specification; the licences and the copyright text were required up to 2.2, and readers expect them.
PACKAGE = (
    "SPDXID name versionInfo downloadLocation filesAnalyzed licenseConcluded licenseDeclared copyrightText"
)


def make(path):
    subprocess.run(
        [ROOT / "scripts" / "sbom", LIBRARY, "0.1.0", path],
        check=True,
        capture_output=True,
        env={**os.environ, "LD_PRELOAD": "", "SOURCE_DATE_EPOCH": "1700000000"},
    )
    return path.read_bytes()


@unittest.skipIf(os.environ.get("PUMIT_PRELOAD"), "a library with sanitizers links them as well")
@unittest.skipUnless(shutil.which("dpkg-query"), "versions are those of Debian packages")
class Sbom(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            cls.text = make(Path(folder) / "a")
            cls.again = make(Path(folder) / "b")
        cls.document = json.loads(cls.text)
        cls.packages = {each["name"]: each for each in cls.document["packages"]}

    def test_document_has_the_required_fields(self):
        self.assertEqual(self.document["spdxVersion"], "SPDX-2.3")
        self.assertEqual(self.document["dataLicense"], "CC0-1.0")
        self.assertEqual(self.document["SPDXID"], "SPDXRef-DOCUMENT")
        self.assertTrue(self.document["name"])
        self.assertRegex(self.document["documentNamespace"], r"^https://[^#]+$")
        self.assertRegex(self.document["creationInfo"]["created"], TIME)
        self.assertTrue(self.document["creationInfo"]["creators"])
        for creator in self.document["creationInfo"]["creators"]:
            self.assertRegex(creator, CREATOR)

    def test_packages_have_the_required_fields(self):
        names = [each["name"] for each in self.document["packages"]]
        ids = [each["SPDXID"] for each in self.document["packages"]]
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual(len(set(ids)), len(ids))
        for package in self.document["packages"]:
            for field in PACKAGE.split():
                self.assertIn(field, package)
                self.assertNotEqual(package[field], "", field)
            self.assertRegex(package["SPDXID"], f"^{ID.pattern}$")
            self.assertRegex(package["supplier"], CREATOR)

    def test_relationships_join_what_is_described(self):
        ids = {each["SPDXID"] for each in self.document["packages"]} | {"SPDXRef-DOCUMENT"}
        edges = [
            (each["spdxElementId"], each["relationshipType"], each["relatedSpdxElement"])
            for each in self.document["relationships"]
        ]
        self.assertIn(("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-libpumit"), edges)
        for source, _, target in edges:
            self.assertLessEqual({source, target}, ids)
        self.assertEqual(ids - {"SPDXRef-DOCUMENT"}, {target for _, _, target in edges})

    def test_every_linked_library_is_there_with_its_licence(self):
        shown = subprocess.run(
            ["readelf", "-dW", LIBRARY], check=True, capture_output=True, text=True
        ).stdout
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", shown)
        self.assertGreater(len(needed), 8)
        used = {each["licenseId"] for each in self.document["hasExtractedLicensingInfos"]}
        for name in needed:
            licence = self.packages[name]["licenseDeclared"]
            self.assertNotEqual(licence, "NOASSERTION")
            self.assertLessEqual(set(re.findall(r"LicenseRef-\S+", licence)), used)
        # What comes with the compiler and the C library has no -dev package in the table.
        table = (ROOT / "docs" / "dependencies.md").read_text()
        for name in needed:
            debian = re.search(r"source (\S+)", self.packages[name]["comment"])[1]
            stem = re.sub(r"^lib|[0-9]*\.so.*$", "", name).lower()
            if debian not in ("glibc",):
                self.assertTrue(re.search(rf"lib{stem}|{stem}", table.lower()), f"{name}: not in the table")

    def test_is_the_same_each_time(self):
        self.assertEqual(self.text, self.again)
        self.assertNotIn(str(ROOT).encode(), self.text)


if __name__ == "__main__":
    unittest.main()
