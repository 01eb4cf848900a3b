"""The tables of attacks say what they seem to say."""

import signal

import pytest

from sandbox import Status
from tests.integration.sandbox.attacks.case import HANG_SECONDS, QUICK_SECONDS, Mode, Outcome, Proof
from tests.integration.sandbox.attacks.notation import read_cases
from tests.integration.sandbox.attacks.table import CASES, THEMES


def one(head: str, program: str = "print(1)"):
    (case,) = read_cases(f"### 7 a case\n{head}\n{program}\n")
    return case


def test_a_case_is_its_title_its_outcomes_and_its_program():
    case = one(
        "#: ok 'a\\n' | exit 3 | crash SIGSEGV | runtime_error KeyError, OSError | timeout", "# a comment\nx = 1"
    )
    assert (case.id, case.program, case.timeout, case.repeats) == ("7 a case", "# a comment\nx = 1\n", QUICK_SECONDS, 1)
    assert case.accepts == (
        Outcome(Status.OK, stdout="a\n"),
        Outcome(Status.EXIT, exit_code=3),
        Outcome(Status.CRASH, signal=signal.SIGSEGV),
        Outcome(Status.RUNTIME_ERROR, exc_types=("KeyError", "OSError")),
        Outcome(Status.TIMEOUT),
    )


def test_directives():
    case = one("#: ok\n#: within 2 s\n#: 3 times\n#: needs numpy, sympy\n#: one-shot\n#: in a session exit 1")
    assert (case.timeout, case.repeats, case.needs, case.modes) == (2.0, 3, ("numpy", "sympy"), (Mode.ONE_SHOT,))
    assert case.accepted(Mode.ONE_SHOT) == (Outcome(Status.OK),)
    assert case.accepted(Mode.SESSION) == (Outcome(Status.OK), Outcome(Status.EXIT, exit_code=1))
    assert (one("#: hangs").accepts, one("#: hangs").timeout) == ((Outcome(Status.TIMEOUT),), HANG_SECONDS)


def test_denied_statements_say_so():
    case = one("#: denied", "raw(57)\nraise ValueError")
    assert (case.proof, case.machine, case.accepts) == (Proof.SHOWN, "x86_64", (Outcome(Status.OK, stdout="denied\n"),))
    compile(case.program.replace("«", "").replace("»", ""), case.id, "exec")
    assert one("#: denied, unproven").proof is Proof.UNPROVEN
    assert one("#: denied").machine is None


@pytest.mark.parametrize("head", ["", "#: okay", "#: ok\n#: within soon s", "#: timeout 3", "#: crash SIGNOTHING"])
def test_a_head_that_means_nothing_is_refused(head):
    with pytest.raises((ValueError, KeyError)):
        one(head)


@pytest.mark.parametrize(
    ("outcome", "matches"),
    [
        (Outcome(Status.OK), True),
        (Outcome(Status.OK, stdout="a"), True),
        (Outcome(Status.OK, stdout="b"), False),
        (Outcome(Status.OK, exc_types=("E",)), False),
        (Outcome(Status.EXIT), False),
        (Outcome(Status.OK, exit_code=0, signal=None), True),
        (Outcome(Status.OK, exit_code=1), False),
    ],
)
def test_an_outcome_matches_what_it_states(outcome, matches):
    result = {"status": "ok", "stdout": "a", "exc_type": None, "exit_code": 0, "signal": None}
    assert outcome.matches(result) is matches


def test_no_case_stands_twice_and_none_accepts_a_failure_of_the_sandbox():
    assert sum(map(len, THEMES.values())) == len(CASES)
    for case in CASES.values():
        statuses = {outcome.status for outcome in case.accepted(Mode.SESSION)}
        assert statuses
        assert not statuses & {Status.SANDBOX_ERROR, Status.CANCELLED}
