"""C code is compiled once, for this user alone; where that can't be, the text says why."""

from __future__ import annotations

import pytest

from include.native import library
from include.native.library import NoLibrary, native_library


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Where the libraries are, which is empty."""
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path / "state"))
    return tmp_path / "state" / "native"


@pytest.mark.parametrize("name", ["columns", "jpeg"])
def test_a_library_is_compiled_once_for_this_user_alone(folder, name):
    native_library(name)
    (compiled,) = folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700

    before = compiled.stat()
    native_library(name)
    assert compiled.stat() == before


def without_compiler(patch, folder):
    patch.setattr(library.shutil, "which", lambda _: None)
    patch.setattr(library, "find_spec", lambda _: None)


def with_a_failing_compiler(patch, folder):
    patch.setattr(library, "_compiler", lambda: ["false"])


def with_a_folder_of_others(patch, folder):
    folder.mkdir(parents=True)
    folder.chmod(0o777)


def switched_off(patch, folder):
    patch.setenv("MILLRACE_NO_NATIVE", "1")


@pytest.mark.parametrize(
    ("without", "reason"),
    [
        (without_compiler, "no C compiler is installed"),
        (with_a_failing_compiler, "CalledProcessError"),
        (with_a_folder_of_others, "others can write to"),
        (switched_off, "MILLRACE_NO_NATIVE is set"),
    ],
)
def test_without_it_the_text_says_why(folder, monkeypatch, without, reason):
    without(monkeypatch, folder)

    with pytest.raises(NoLibrary, match=f"^{reason}"):
        native_library("jpeg")
