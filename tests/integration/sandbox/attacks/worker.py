"""Runs cases as one user at one level, in a process of its own, and says what each of them did.

    python -m tests.integration.sandbox.attacks.worker < plan.json

The plan is a JSON object (see `Plan`); the answer one JSON object a line: `isolation` (or `unavailable`, the reason) first,
then one for each run, and `left` last.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sandbox import Result, Sandbox, SandboxUnavailable
from tests.integration.sandbox.attacks.arena import Arena
from tests.integration.sandbox.attacks.case import Case, Mode
from tests.integration.sandbox.attacks.table import CASES
from tests.integration.sandbox.attacks.watch import Watch

OVERRUN_SECONDS = 1.0
"""What every call promises: it returns within its timeout and this."""
_NEXT = "print(1)"


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a worker is to do.

    Attributes:
        level: the isolation level to run at.
        preload: modules that the sandbox preloads.
        library_paths: where third-party modules lie.
        runs: pairs of a case's id and a mode.
    """

    level: int
    preload: list[str]
    library_paths: list[str]
    runs: list[list[str]]


class Examiner:
    """Runs cases in a sandbox and sees what they do."""

    def __init__(self, sandbox: Sandbox, level: int, arena: Arena, watch: Watch) -> None:
        self._sandbox = sandbox
        self._level = level
        self._arena = arena
        self._watch = watch

    def examine(self, case: Case, mode: Mode) -> dict[str, Any]:
        """Runs a case, then looks at everything that no program may change.

        Returns:
            `results`, the fields of each repetition's result, and `violations`, sentences.
        """
        program = self._arena.aim(case.program)
        run = self._run_one_shot if mode is Mode.ONE_SHOT else self._run_in_session
        results: list[Result] = []
        violations: list[str] = []
        for _ in range(case.repeats):
            result, complaints = run(program, case.timeout)
            results.append(result)
            violations += complaints
        following = self._sandbox.run(_NEXT)
        if (following.status, following.stdout) != ("ok", "1\n"):
            violations.append(f"the next program ended with {following}")
        violations += self._arena.harm() + self._watch.growth()
        return {"results": [dataclasses.asdict(result) for result in results], "violations": violations}

    def _run_one_shot(self, program: str, timeout: float) -> tuple[Result, list[str]]:
        started = time.monotonic()
        result = self._sandbox.run(program, timeout=timeout, seed=1)
        return result, self._complaints(result, timeout, time.monotonic() - started)

    def _run_in_session(self, program: str, timeout: float) -> tuple[Result, list[str]]:
        """Runs the program as the second of three steps; the third may find whatever is left, but has to end."""
        complaints: list[str] = []
        results = []
        with self._sandbox.session(seed=1) as session:
            for step in ("before = 1", program, _NEXT):
                started = time.monotonic()
                results.append(session.step(step, timeout=timeout))
                complaints += self._complaints(results[-1], timeout, time.monotonic() - started)
        return results[1], complaints

    def _complaints(self, result: Result, timeout: float, elapsed: float) -> list[str]:
        found = []
        if elapsed > timeout + OVERRUN_SECONDS:
            found.append(f"the call took {elapsed:.2f} s with a timeout of {timeout} s")
        if result.status == "sandbox_error":
            found.append(f"the sandbox failed: {result.exc_message}")
        if result.isolation is not None and result.isolation.level != self._level:
            found.append(f"it ran at level {result.isolation.level}")
        texts = (result.stdout, result.stderr, result.traceback, result.exc_type or "", result.exc_message or "")
        found += [f"text that is no valid Unicode: {text[:100]!a}" for text in texts if not _is_unicode(text)]
        return found


def _is_unicode(text: str) -> bool:
    return text.encode("utf-8", "replace").decode() == text


def answers(plan: Plan) -> Iterator[dict[str, Any]]:
    """Carries out a plan."""
    tempfile.tempdir = tempfile.mkdtemp(prefix="sandbox-attacks-")
    mark = tempfile.mkdtemp(prefix="mark-")  # an empty library directory: so it stands in the workers' command lines
    sandbox = Sandbox(
        workers=1,
        preload=plan.preload,
        min_level=plan.level,
        max_level=plan.level,
        library_paths=[*plan.library_paths, mark],
    )
    with Arena() as arena:
        try:
            sandbox.start()
        except SandboxUnavailable as error:
            yield {"unavailable": str(error)}
            return
        yield {"isolation": dataclasses.asdict(sandbox.isolation)}
        sandbox.run(f"kept = {arena.marker!r}\nprint(kept)")
        watch = Watch(mark)
        examiner = Examiner(sandbox, plan.level, arena, watch)
        for case_id, mode in plan.runs:
            yield {"case": case_id, "mode": mode, **examiner.examine(CASES[case_id], Mode(mode))}
        sandbox.close()
        left = [*map(str, watch.relatives()), *map(str, Path(tempfile.tempdir).glob("sandbox-scratch-*"))]
    shutil.rmtree(tempfile.tempdir)
    yield {"left": left}


def main() -> None:
    """Reads the plan, prints the answers."""
    for answer in answers(Plan(**json.load(sys.stdin))):
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
