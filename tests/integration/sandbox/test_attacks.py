"""The attack suite: every case of every theme, by every user, at every level, in every mode.

After each case its worker has looked at a canary file, listeners, its own and the sandbox's processes, descriptors, threads and
files, and has run an honest program; see `attacks.worker.Examiner`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from sandbox import Sandbox
from tests.integration.sandbox.attacks.arena import Arena
from tests.integration.sandbox.attacks.case import Case, Mode, Proof
from tests.integration.sandbox.attacks.rows import ROWS, Interpreter, Row, RowRun, interpreter_of
from tests.integration.sandbox.attacks.table import CASES, THEMES

MODES = [mode for mode in Mode if mode is not Mode.SESSION or hasattr(Sandbox, "session")]
MACHINE = os.uname().machine


def applicable(theme: str, mode: Mode, modules: Iterable[str]) -> list[Case]:
    """The cases of a theme that run in a mode, on this machine, with these third-party modules."""
    return [
        case
        for case in THEMES[theme]
        if mode in case.modes and case.machine in (None, MACHINE) and set(case.needs) <= set(modules)
    ]


def selected(session: pytest.Session) -> Iterator[tuple[Row, str, Mode]]:
    """What the selected tests ask for: row, theme, mode."""
    for item in session.items:
        if isinstance(item, pytest.Function) and item.originalname == test_attacks.__name__:
            params: dict[str, Any] = item.callspec.params
            yield params["row"], params["theme"], params["mode"]


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> Iterator[dict[Row, RowRun | str]]:
    """All rows that the selected tests ask for, running side by side from the first test on; or why one cannot run."""
    runs: dict[Row, list[tuple[str, str]]] = {}
    for row, theme, mode in selected(request.session):
        interpreter = interpreter_of(row.user)
        modules = interpreter.modules if isinstance(interpreter, Interpreter) else ()
        runs.setdefault(row, []).extend((case.id, mode.value) for case in applicable(theme, mode, modules))
    found: dict[Row, RowRun | str] = {}
    for row, cases in runs.items():
        interpreter = interpreter_of(row.user)
        found[row] = interpreter if isinstance(interpreter, str) else RowRun(row, interpreter, cases)
    yield found
    for run in found.values():
        if isinstance(run, RowRun):
            run.end()


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("mode", MODES)
def test_attacks(rows: dict[Row, RowRun | str], row: Row, theme: str, mode: Mode) -> None:
    run = rows[row]
    if isinstance(run, str):
        pytest.skip(run)
    if isinstance(unavailable := run.opened.result(), str):
        assert "escape probes" not in unavailable  # the level can be built here, and does not hold
        pytest.skip(f"no sandbox at level {row.level} for a {row.user} user: {unavailable}")
    interpreter = interpreter_of(row.user)
    assert isinstance(interpreter, Interpreter)
    cases = applicable(theme, mode, interpreter.modules)
    assert cases
    wrong = [text for case in cases for text in complaints(case, run.outcome(case.id, mode))]
    assert not wrong, "\n\n".join(wrong)


def complaints(case: Case, outcome: dict[str, Any]) -> list[str]:
    """What is wrong with a case's outcome, in words."""
    found = [f"{case.id}: {text}" for text in outcome["violations"]]
    for result in outcome["results"]:
        accepted = case.accepted(Mode(outcome["mode"]))
        if not any(each.matches(result) for each in accepted):
            expected = " or ".join(map(str, accepted))
            found.append(f"{case.id}: ended with {result}\nexpected {expected}\n{case.program[:2000]}")
    return found


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_no_case_is_left_out(row: Row) -> None:
    interpreter = interpreter_of(row.user)
    if isinstance(interpreter, str):
        pytest.skip(interpreter)
    needed = {module for case in CASES.values() for module in case.needs}
    if missing := needed - set(interpreter.modules):
        pytest.skip(f"cases that need {', '.join(sorted(missing))} do not run: {interpreter.path} cannot import them")
    elsewhere = sorted({case.machine for case in CASES.values() if case.machine not in (None, MACHINE)})
    if elsewhere:
        pytest.skip(f"cases that are written for {', '.join(map(str, elsewhere))} do not run on {MACHINE}")


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_nothing_is_left_of_a_sandbox_after_all_attacks(rows: dict[Row, RowRun | str], row: Row) -> None:
    run = rows.get(row, "none of its attacks were selected")
    if isinstance(run, str) or isinstance(run.opened.result(), str):
        pytest.skip(f"{row} did not run: {run}")
    assert run.closed.result() == []


def test_what_is_denied_works_without_a_sandbox(tmp_path) -> None:
    """A case that failed for a mistake of its own would be no evidence."""
    duds = []
    for case in CASES.values():
        if case.proof is not Proof.SHOWN or case.machine not in (None, MACHINE):
            continue
        scratch = tmp_path / str(len(list(tmp_path.iterdir())))
        scratch.mkdir()
        with Arena() as arena:
            done = subprocess.run(
                [sys.executable, "-c", arena.aim(case.program)],
                cwd=scratch,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.stdout != "got through\n":
            duds.append(f"{case.id}: {done.stdout} {done.stderr[-500:]}")
    assert not duds, "\n".join(duds)


def test_every_case_of_the_specification_has_a_program() -> None:
    numbers = {case.number for case in CASES.values()} - {"+"}
    assert numbers == set(map(str, range(1, 49)))
