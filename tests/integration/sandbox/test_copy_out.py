"""Files that are to be brought out of a hostile program's directory: only what is a plain file there comes, and nobody waits."""

import os
import time

import pytest

from sandbox import Level, Limits, Sandbox, SandboxUnavailable
from sandbox.limits import MIB

# A program, where «outside» is the path of somebody's file, and the names that are asked for.
TRAPS = {
    "a link to another file": ("os.symlink(«outside», 'out')", ["out"]),
    "a link to a link": ("os.symlink(«outside», 'a'); os.symlink('a', 'out')", ["out"]),
    "a link to nothing": ("os.symlink('nowhere', 'out')", ["out"]),
    "a link to itself": ("os.symlink('out', 'out')", ["out"]),
    "a link to an own file": ("open('mine', 'w').write('x'); os.symlink('mine', 'out')", ["out"]),
    "a directory that is a link": ("os.symlink(os.path.dirname(«outside»), 'd')", ["d/" + "secret"]),
    "a link through the kernel's own": ("os.symlink('/proc/self/fd/0', 'out')", ["out"]),
    "a link to the supervisor's memory": ("os.symlink('/proc/self/mem', 'out')", ["out"]),
    "a directory": ("os.mkdir('out')", ["out"]),
    "a file that was one": ("open('out', 'w').close(); os.unlink('out')", ["out"]),
    "a name below a file": ("open('d', 'w').close()", ["d/out"]),
    "a named pipe": ("os.mkfifo('out')", ["out"]),
    "a device": ("os.mknod('out', 0o20666, os.makedev(1, 5))", ["out"]),
    "a socket": ("import socket; socket.socket(socket.AF_UNIX).bind('out')", ["out"]),
    "a file with more than may come": ("open('out', 'wb').truncate(3 << 20)", ["out"]),
    "a name too long": ("pass", ["x" * 256]),
    "a path too long": ("pass", ["/".join(["d"] * 3000)]),
}


@pytest.fixture(scope="module", params=[Level.CONFINED, Level.NAMESPACED], ids=lambda level: f"L{level}")
def small(request):
    """A sandbox that brings out two mebibytes. Its programs' directories lie on the disk, or in file systems of their own."""
    limits = Limits(transfer_bytes=2 * MIB)
    try:
        sandbox = Sandbox(
            workers=1, preload=(), limits=limits, min_level=request.param, max_level=request.param
        ).start()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    yield sandbox
    sandbox.close()


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_refused(small, tmp_path, name):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    statement, wanted = TRAPS[name]
    begun = time.monotonic()
    result = small.run(f"import os\n{statement.replace('«outside»', repr(str(secret)))}", fetch=wanted)
    assert time.monotonic() - begun < 60
    assert (result.files, set(result.files_refused)) == ({}, set(wanted)), result
    assert all(isinstance(reason, str) and reason for reason in result.files_refused.values())


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_refused_while_its_process_lives(small, tmp_path, name):
    """A session's process stands still meanwhile, but it could have left a thread at work."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    statement, wanted = TRAPS[name]
    with small.session() as session:
        result = session.step(f"import os\n{statement.replace('«outside»', repr(str(secret)))}", fetch=wanted)
    assert (result.files, set(result.files_refused)) == ({}, set(wanted)), result


def test_a_file_that_changes_all_the_time_comes_as_it_was_at_some_moment(small, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    code = f"""
import itertools, os, threading
def change():
    for index in itertools.count():
        with open(f"new", "w") as file: file.write("x" * (index % 1000))
        os.replace("new", "out")
        os.symlink({str(secret)!r}, "new")
        os.replace("new", "out")
threading.Thread(target=change).start()
"""
    with small.session() as session:
        session.step(code)
        for _ in range(50):
            result = session.step("import time; time.sleep(0.001)", fetch=["out"])
            assert set(result.files.get("out", b"")) <= set(b"x"), result


def test_files_that_are_too_much_together_come_as_far_as_there_is_room(small):
    code = "for name in 'abc': open(name, 'wb').write(bytes(900_000))"
    result = small.run(code, fetch=["a", "b", "c"])
    assert {name: len(content) for name, content in result.files.items()} == {"a": 900_000, "b": 900_000}
    assert set(result.files_refused) == {"c"}


def test_a_file_with_a_hole_comes_as_zeros(small):
    result = small.run("open('out', 'wb').truncate(1 << 20)", fetch=["out"])
    assert result.files == {"out": bytes(1 << 20)}


def test_a_second_name_of_an_own_file_and_odd_names_come(small):
    names = ["second", "a b", "-rf", "x\ny", "é∑", "d/e"]
    code = f"import os\nos.mkdir('d'); open('first', 'w').write('x')\nfor name in {names!r}: os.link('first', name)"
    result = small.run(code, fetch=names)
    assert result.files == dict.fromkeys(names, b"x"), result


def test_what_comes_out_of_a_program_that_was_killed_is_what_it_had_written(small):
    code = "file = open('out', 'w')\nfile.write('so far'); file.flush()\nwhile True: pass"
    assert small.run(code, timeout=0.5, fetch=["out"]).files == {"out": b"so far"}


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../secret", "a/../../b", "a\0b", ".", "a//b", "a/", "./a"])
def test_a_name_that_leads_elsewhere_is_refused_before_anything_runs(small, name):
    for arguments in ({"fetch": [name]}, {"files": {name: b""}}):
        with pytest.raises(ValueError, match="file's name"):
            small.run("", **arguments)


def test_files_that_came_in_are_the_programs_own(small):
    code = "import os\nos.rename('in/a', 'out'); os.rmdir('in'); print(os.getuid() == os.stat('out').st_uid)"
    result = small.run(code, files={"in/a": os.urandom(1000)}, fetch=["out", "in/a"])
    assert (result.stdout, len(result.files["out"]), set(result.files_refused)) == ("True\n", 1000, {"in/a"})
