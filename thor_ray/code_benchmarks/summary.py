"""Verdicts of many programs in figures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from thor_ray.code_benchmarks.verdict import CodeStatus, CodeVerdict
from thor_ray.evaluation.estimators import pass_at_k


@dataclass(frozen=True, slots=True)
class CodeSummary:
    """Figures of a set of verdicts.

    Attributes:
        programs: How many verdicts there are.
        passed: How many of them passed.
        statuses: How many have each status.
        pass_at_1: Share of programs that passed, as the mean over problems; ``None`` without any verdict that says
            something.
        suite_pass_at_1: The same by suite, for programs that passed it and those before it. Of EvalPlus's, ``base`` is
            the original benchmark's figure and ``plus`` the benchmark's own.
    """

    programs: int
    passed: int
    statuses: dict[CodeStatus, int]
    pass_at_1: float | None
    suite_pass_at_1: dict[str, float]


def summarise(verdicts: Sequence[CodeVerdict], suites: Sequence[str]) -> CodeSummary:
    """The figures; verdicts that say nothing about their programs are left out of shares.

    Args:
        verdicts: Of any number of problems and samples.
        suites: Names of all suites; a problem that lacks one passes it if it passes everything.
    """
    judged = [verdict for verdict in verdicts if verdict.judged]
    shares = {
        suite: _mean_over_problems(judged, [each.passed or each.passed_suite(suite) for each in judged])
        for suite in suites
    }
    return CodeSummary(
        programs=len(verdicts),
        passed=sum(verdict.passed for verdict in verdicts),
        statuses=dict(Counter(verdict.status for verdict in verdicts)),
        pass_at_1=_mean_over_problems(judged, [verdict.passed for verdict in judged]),
        suite_pass_at_1={suite: share for suite, share in shares.items() if share is not None},
    )


def _mean_over_problems(verdicts: Sequence[CodeVerdict], good: Sequence[bool]) -> float | None:
    samples = Counter(verdict.id for verdict in verdicts)
    passed = Counter(verdict.id for verdict, each in zip(verdicts, good, strict=True) if each)
    if not samples:
        return None
    return sum(pass_at_k(count, passed[name], 1) for name, count in samples.items()) / len(samples)
