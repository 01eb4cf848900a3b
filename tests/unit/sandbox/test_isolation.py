"""What is decided about levels, and what goes into a root directory of one's own; nothing here enters a namespace."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Level, Sandbox, Status
from sandbox.inside.namespaces import View, free_name, view
from sandbox.isolation import objection, refusal
from sandbox.own_kernel import Marks, OwnKernel, contradiction, declared, read_marks
from tests.unit.sandbox.test_values import result

LEVELS = list(Level)


def test_a_level_holds_only_if_every_probe_failed():
    assert objection(result(stdout='{"tried": 14, "through": []}')) is None
    assert "fork, connect" in str(objection(result(stdout='{"tried": 14, "through": ["fork", "connect"]}')))
    for failed in Status:
        if failed is not Status.OK:
            assert failed in str(objection(result(failed)))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("min_level", LEVELS)
@pytest.mark.parametrize("allow_insecure", [False, True])
def test_what_is_below_the_least_level_is_refused_with_reason_and_remedy(level, min_level, allow_insecure):
    refused = refusal(level, ("it rains", "it pours"), min_level, allow_insecure)
    if level >= min_level and (level > Level.LIMITS or allow_insecure):
        assert refused is None
    else:
        assert "it rains; it pours" in str(refused)
        remedies = {Level.NAMESPACED: "user namespaces", Level.OWN_KERNEL: "own_kernel"}
        assert remedies.get(min_level, "allow_insecure=True") in str(refused)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"min_level": 5}, "min_level is 5"),
        ({"max_level": -1}, "max_level is -1"),
        ({"min_level": 3, "max_level": 2}, "min_level is 3, above max_level, which is 2"),
        ({"own_kernel": "xen"}, "own_kernel .* is 'xen'; it must be one of gvisor, vm"),
    ],
)
def test_levels_that_make_no_sense_are_refused_at_once(arguments, words):
    with pytest.raises(ValueError, match=words):
        Sandbox(**arguments)


def test_the_declaration_comes_from_the_argument_or_else_from_the_environment():
    assert declared(None, {}) is None
    assert declared(None, {"SANDBOX_OWN_KERNEL": ""}) is None
    assert declared(None, {"SANDBOX_OWN_KERNEL": "vm"}) is OwnKernel.VIRTUAL_MACHINE
    assert declared("gvisor", {"SANDBOX_OWN_KERNEL": "vm"}) is OwnKernel.GVISOR
    with pytest.raises(ValueError, match="SANDBOX_OWN_KERNEL"):
        declared(None, {"SANDBOX_OWN_KERNEL": "kvm"})


@pytest.mark.parametrize(
    ("kernel", "marks", "contradicted"),
    [
        (OwnKernel.GVISOR, Marks(gvisor=True, virtual=None), False),
        (OwnKernel.GVISOR, Marks(gvisor=False, virtual=True), True),
        (OwnKernel.VIRTUAL_MACHINE, Marks(gvisor=False, virtual=True), False),
        (OwnKernel.VIRTUAL_MACHINE, Marks(gvisor=False, virtual=None), False),
        (OwnKernel.VIRTUAL_MACHINE, Marks(gvisor=False, virtual=False), True),
    ],
)
def test_a_declaration_is_refused_if_the_machine_contradicts_it(kernel, marks, contradicted):
    assert (contradiction(kernel, marks) is not None) == contradicted


def test_the_marks_of_a_machine(tmp_path):
    assert read_marks(tmp_path) == Marks(gvisor=False, virtual=None)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor: 0\nflags\t\t: fpu vme hypervisor lahf_lm\n\nprocessor: 1\n")
    assert read_marks(tmp_path).virtual is True
    cpuinfo.write_text("flags\t\t: fpu vme\n")
    assert read_marks(tmp_path).virtual is False
    cpuinfo.write_text("Features\t: fp asimd\n")  # an ARM processor does not say
    (tmp_path / "sentry-meminfo").touch()
    assert read_marks(tmp_path) == Marks(gvisor=True, virtual=None)


def rebuild(shown: View, root: Path) -> None:
    """Makes what a view asks for below another root, with a mark in each directory, as `change_root` does with mounts."""
    for directory in shown.directories:
        below = root / directory.lstrip("/")
        below.mkdir(parents=True)
        (below / "mark").write_text(directory)
    for link, target in shown.links.items():
        place = root / link.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(f"{root}{target}" if target.startswith("/") else target)


def test_a_view_keeps_every_path_leading_where_it_leads(tmp_path):
    """Links to directories, through directories, upwards, absolute and in chains; what does not exist is left out."""
    old = tmp_path / "old"
    (old / "real" / "lib" / "python").mkdir(parents=True)
    (old / "data" / "venv" / "site").mkdir(parents=True)
    (old / "lib").symlink_to("real/lib")
    (old / "chain").symlink_to(old / "lib")
    (old / "home").symlink_to(old / "data")
    (old / "data" / "up").symlink_to("../real/./lib")
    (old / "loop").symlink_to("loop")
    (old / "file").touch()
    asked = ["lib", "chain/python", "home/venv/site", "home/up", "data/../lib/python", "loop", "file", "missing"]
    shown = view(f"{old}/{name}" for name in asked)
    assert set(shown.directories) == {f"{old}/real/lib", f"{old}/data/venv/site"}
    new = tmp_path / "new"
    rebuild(shown, new)
    for name, real in (
        ("lib", "real/lib"),
        ("chain", "real/lib"),
        ("home/venv/site", "data/venv/site"),
        ("home/up", "real/lib"),
    ):
        assert Path(f"{new}{old}/{name}/mark").read_text() == f"{old}/{real}"


names = st.sampled_from("abc")
targets = st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=3).map("/".join)


@given(
    directories=st.lists(st.lists(names, min_size=1, max_size=3).map("/".join), max_size=4),
    links=st.lists(st.tuples(names, targets, st.booleans()), max_size=4),
    asked=st.lists(st.lists(st.sampled_from(["a", "b", "c", ".."]), max_size=4).map("/".join), min_size=1, max_size=4),
)
def test_a_view_of_any_tree_shows_the_real_directories_once(tmp_path_factory, directories, links, asked):
    root = tmp_path_factory.mktemp("tree") / "x" / "y"  # room above, for links that lead up
    root.mkdir(parents=True)
    for directory in directories:
        (root / directory).mkdir(parents=True, exist_ok=True)
    for name, target, is_absolute in links:
        if not os.path.lexists(root / name):
            (root / name).symlink_to(f"{root}/{target}" if is_absolute else target)
    paths = [f"{root}/{name}" for name in asked]
    shown = view(paths)
    wanted = {os.path.realpath(path) for path in paths if Path(path).is_dir()}
    assert set(shown.directories) <= wanted
    assert all(any(f"{path}/".startswith(f"{top}/") for top in shown.directories) for path in wanted)
    assert not any(one.startswith(f"{other}/") for one in shown.directories for other in shown.directories)
    assert all(
        os.readlink(link) == target  # noqa: PTH115 - pathlib tidies targets up
        for link, target in shown.links.items()
    )


def test_the_scratch_directory_hides_no_library():
    assert free_name(View(("/usr/lib",), {"/lib": "usr/lib"})) == "/scratch"
    assert free_name(View(("/scratch/me/venv",), {"/scratch_": "usr/lib"})) == "/scratch__"
