import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Request
from sandbox.transfer import fetch_files, write_files

CAP = 1 << 16


@pytest.fixture
def inside(tmp_path):
    """A program's directory, with a secret beside it."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "inside").mkdir()
    descriptor = os.open(tmp_path / "inside", os.O_RDONLY | os.O_DIRECTORY)
    yield tmp_path / "inside", descriptor
    os.close(descriptor)


def test_what_goes_in_comes_out(inside):
    path, directory = inside
    files = {"a.txt": b"a", "deep/er/b.bin": bytes(range(256)), "deep/c": b""}
    write_files(directory, files)
    assert (path / "deep/er/b.bin").read_bytes() == bytes(range(256))
    assert fetch_files(directory, files, CAP) == (files, {})


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "../secret", "a/../../secret", "a\0b", "a//b", "./a", "a/"])
def test_names_that_lead_out_or_are_none_are_refused(name):
    for arguments in ({"files": {name: b""}}, {"fetch": [name]}):
        with pytest.raises(ValueError, match="cannot be a file's name"):
            Request("", **arguments)


def test_a_file_cannot_be_the_directory_of_another():
    with pytest.raises(ValueError, match="'a/b' is a file"):
        Request("", files={"a/b": b"", "a/b/c": b""})


def test_only_bytes_are_transferred():
    with pytest.raises(TypeError, match=r"x\.txt must be bytes"):
        Request("", files={"x.txt": "text"})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="stdin must be bytes"):
        Request("", stdin="text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="sequence of names"):
        Request("", fetch="name")


def make_link(path: Path) -> None:
    path.symlink_to("../secret")


def make_absolute_link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "secret")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_endless_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


@pytest.mark.parametrize("make", [make_link, make_absolute_link, make_pipe, make_endless_file, Path.mkdir])
def test_nothing_but_a_regular_file_of_bounded_size_comes_out(inside, make):
    path, directory = inside
    make(path / "loot")
    (path / "good").write_bytes(b"good")
    contents, refused = fetch_files(directory, ["loot", "nothing", "good"], CAP)
    assert contents == {"good": b"good"}
    assert set(refused) == {"loot", "nothing"}
    assert all(refused.values())


def test_no_way_out_through_a_linked_directory(inside):
    path, directory = inside
    (path / "up").symlink_to("..")
    assert fetch_files(directory, ["up/secret"], CAP)[0] == {}


@given(st.lists(st.integers(0, 100), max_size=5))
def test_the_limit_counts_all_files_together(sizes):
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        files = {f"{index}": b"x" * size for index, size in enumerate(sizes)}
        write_files(directory, files)
        contents, refused = fetch_files(directory, files, max_bytes=150)
        os.close(directory)
    assert sum(map(len, contents.values())) <= 150
    assert set(contents) | set(refused) == set(files)
    assert bool(refused) == (sum(sizes) > 150)
