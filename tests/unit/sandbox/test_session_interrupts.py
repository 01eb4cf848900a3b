"""SIGINT in a session's child: it reaches a program that runs or is about to, and nothing else."""

import signal
from types import CodeType

import pytest

from sandbox.inside.interrupts import Interrupts


@pytest.fixture
def interrupts():
    before = signal.getsignal(signal.SIGINT)
    yield Interrupts()
    signal.signal(signal.SIGINT, before)


def program(source: str) -> CodeType:
    return compile(source, "<program>", "exec")


STRIKE = program("import signal\nsignal.raise_signal(signal.SIGINT)\nreached = True")


def test_a_program_that_runs_is_interrupted(interrupts):
    namespace: dict[str, object] = {}
    with pytest.raises(KeyboardInterrupt):
        interrupts.execute(STRIKE, namespace)
    assert "reached" not in namespace


def test_only_once(interrupts):
    """The second interrupt would strike the handling of the first, which is the harness's when the program has none."""
    twice = program(
        "import signal\n"
        "try:\n    signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n    signal.raise_signal(signal.SIGINT)\n    reached = True"
    )
    namespace: dict[str, object] = {}
    interrupts.execute(twice, namespace)
    assert namespace["reached"]


def test_one_that_still_compiles_never_starts(interrupts):
    namespace: dict[str, object] = {}
    interrupts.forget()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.execute(program("reached = True"), namespace)
    assert "reached" not in namespace


def test_what_comes_between_programs_interrupts_nothing(interrupts):
    namespace: dict[str, object] = {}
    interrupts.execute(program(""), namespace)
    signal.raise_signal(signal.SIGINT)
    interrupts.forget()
    interrupts.execute(program("reached = True"), namespace)
    assert namespace["reached"]


def test_a_failed_program_leaves_nothing_armed(interrupts):
    with pytest.raises(ZeroDivisionError):
        interrupts.execute(program("1 / 0"), {})
    signal.raise_signal(signal.SIGINT)
