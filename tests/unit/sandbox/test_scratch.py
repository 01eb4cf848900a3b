import os
import threading
import time
from pathlib import Path

import pytest

from sandbox import scratch as scratch_module
from sandbox.scratch import Scratch, ScratchSpace, _remove_tree


@pytest.fixture(autouse=True)
def _own_temporary_directory(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def path_of(space: ScratchSpace, scratch: Scratch) -> Path:
    assert scratch.name is not None
    return space.path / scratch.name


def test_an_empty_directory_serves_again_and_a_used_one_goes():
    space = ScratchSpace()
    first = space.acquire()
    space.release(first)
    again = space.acquire()
    assert again.name == first.name
    (path_of(space, again) / "file").touch()
    space.release(again)
    fresh = space.acquire()
    assert fresh.name != again.name
    assert list(path_of(space, fresh).iterdir()) == []
    space.discard(fresh)
    space.close()
    assert not space.path.exists()


def test_a_directory_whose_mode_was_changed_does_not_serve_again():
    space = ScratchSpace()
    first = space.acquire()
    path_of(space, first).chmod(0o777)
    space.release(first)
    second = space.acquire()
    assert second.name != first.name
    os.close(second.descriptor)
    space.close()


def test_links_are_not_followed_and_locked_deep_trees_go(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "link").symlink_to(outside)
    (root / "a" / "link").symlink_to(outside / "kept")
    (root / "a" / "b").chmod(0)
    (root / "a").chmod(0)
    start = Path.cwd()
    try:
        os.chdir(root)
        for _ in range(1100):  # deeper than recursion goes and longer than a path may be
            Path("deeper").mkdir()
            os.chdir("deeper")
    finally:
        os.chdir(start)
    _remove_tree(str(root))
    assert not root.exists()
    assert (outside / "kept").exists()


def test_a_tree_that_moves_away_is_not_followed(tmp_path, monkeypatch):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (root / "inner").mkdir(parents=True)
    elsewhere.mkdir()
    remove_files = scratch_module._remove_files

    def move_then_remove(directory: int) -> str | None:
        if Path(f"/proc/self/fd/{directory}").resolve() == root / "inner":
            (root / "inner").rename(elsewhere / "inner")
        return remove_files(directory)

    monkeypatch.setattr(scratch_module, "_remove_files", move_then_remove)
    with pytest.raises(OSError, match="was moved"):
        _remove_tree(str(root))
    assert elsewhere.exists()


def test_what_a_killed_owner_left_is_removed_and_what_a_living_one_uses_is_not(tmp_path):
    abandoned = tmp_path / "sandbox-scratch-abandoned"
    (abandoned / "1").mkdir(parents=True)
    long_ago = time.time() - 3600
    os.utime(abandoned, (long_ago, long_ago))
    living = ScratchSpace()
    os.utime(living.path, (long_ago, long_ago))
    other = ScratchSpace()
    assert not abandoned.exists()
    assert living.path.exists()
    living.close()
    other.close()


def test_closing_waits_for_the_janitors():
    space = ScratchSpace()
    used = space.acquire()
    for name in range(200):
        (path_of(space, used) / str(name)).touch()
    space.release(used)
    space.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "sandbox-janitor"]
    assert not space.path.exists()
