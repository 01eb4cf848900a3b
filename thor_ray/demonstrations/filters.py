r"""The rules that decide which demonstrations train the policy (paper section 2.2, spec B.7).

Paper, stage 1: format. Stage 2: code. Stage 3: difficulty and balance. Of the release's further rules, those on dollar
signs and repetition are here; its lower bounds of 3,000 tokens and 5 lines are for reasoning models.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import ceil
from random import Random

from thor_ray.demonstrations.code_quality import is_substantial
from thor_ray.demonstrations.demonstration import Demonstration
from thor_ray.demonstrations.funnel import Countable, Rule, each_alone
from thor_ray.grading import GradeStatus, has_degenerate_repetition
from thor_ray.refine.agreement import Agreement, agreement
from thor_ray.refine.formulas import has_latex
from thor_ray.trajectory import ExecutionStatus

REPEATED_CHARACTERS = 20
REPETITIONS = 20


def boxed() -> Rule[Demonstration]:
    """The answer stands in a box."""
    return each_alone("boxed", lambda each: "no box" if each.trajectory.answer is None else None)


def no_stray_fence() -> Rule[Demonstration]:
    """No fence in the prose, where it would open an action or an observation."""
    return each_alone("no_stray_fence", lambda each: "a fence outside actions" if "```" in each.prose else None)


def paired_dollars(prices: bool = True) -> Rule[Demonstration]:
    """Dollar signs that delimit formulas come in pairs.

    Args:
        prices: Where the prose holds no LaTeX, all dollar signs are prices. Without it there may be one price, not three:
            the release's rule.
    """

    def reject(demonstration: Demonstration) -> str | None:
        dollars = demonstration.prose.count("$") - demonstration.prose.count("\\$")
        if dollars == 1 or (prices and not has_latex(demonstration.prose)):
            return None
        return "unbalanced dollar signs" if dollars % 2 else None

    return each_alone("paired_dollars", reject, prices=prices)


def no_repetition(window: int = REPEATED_CHARACTERS, limit: int = REPETITIONS) -> Rule[Demonstration]:
    """No piece of ``window`` characters occurs more than ``limit`` times in the prose (the release's rule 9)."""

    def reject(demonstration: Demonstration) -> str | None:
        return "repetition" if has_degenerate_repetition(demonstration.prose, window, limit) else None

    return each_alone("no_repetition", reject, window=window, limit=limit)


def fits(max_tokens: int) -> Rule[Demonstration]:
    """Prompt and response fit the context."""

    def reject(demonstration: Demonstration) -> str | None:
        return "too long" if demonstration.trajectory.length > max_tokens else None

    return each_alone("fits", reject, max_tokens=max_tokens)


def uses_code() -> Rule[Demonstration]:
    """At least one program ran."""
    return each_alone("uses_code", lambda each: None if each.trajectory.steps else "no program")


def code_passes(every_block: bool) -> Rule[Demonstration]:
    """Every claim was settled by a program that succeeded.

    Args:
        every_block: The paper's rule: no program at all may have failed. Without it, failed attempts may come first.
    """

    def reject(demonstration: Demonstration) -> str | None:
        results = [step.result for step in demonstration.trajectory.steps]
        if any(result.status is ExecutionStatus.INFRA_ERROR for result in results):
            return "our own failure"
        if any(claim.observed is None for claim in demonstration.claims):
            return "no program for a claim succeeded"
        return "a program failed" if every_block and any(result.status.failed for result in results) else None

    return each_alone("code_passes", reject, every_block=every_block)


def substantial_code() -> Rule[Demonstration]:
    """Some program holds a library call or control flow (the paper's rule)."""

    def reject(demonstration: Demonstration) -> str | None:
        codes = [step.code for step in demonstration.trajectory.steps if not step.result.status.failed]
        return None if any(map(is_substantial, codes)) else "trivial code"

    return each_alone("substantial_code", reject)


def answer_observed() -> Rule[Demonstration]:
    """The boxed answer is what some program printed, so that the policy learns to read it off."""

    def reject(demonstration: Demonstration) -> str | None:
        answer = demonstration.trajectory.answer or ""
        printed = any(agreement(answer, claim.observed) is Agreement.SAME for claim in demonstration.claims)
        return None if printed else "the answer was not printed"

    return each_alone("answer_observed", reject)


def answer_correct() -> Rule[Demonstration]:
    """The grader finds the answer correct; a grader that fails rejects too, under its own name."""

    def reject(demonstration: Demonstration) -> str | None:
        status = demonstration.trajectory.grade_status
        return None if status == GradeStatus.CORRECT else str(status)

    return each_alone("answer_correct", reject)


def hard_enough(solved_share: Mapping[str, float], threshold: float) -> Rule[Countable]:
    """The generator solves the problem without tools in less than ``threshold`` of its samples (paper, stage 3).

    Args:
        solved_share: Share of samples that are right, by problem id.
        threshold: From which share on a problem is too easy.
    """

    def judge(demonstrations: Sequence[Countable]) -> list[str | None]:
        shares = (solved_share.get(each.problem_id, 0.0) for each in demonstrations)
        return ["solved without tools" if share >= threshold else None for share in shares]

    return Rule("hard_enough", judge, {"threshold": threshold})


def not_in_tests(overlaps: Mapping[str, str]) -> Rule[Demonstration]:
    """The problem is in no test set.

    Args:
        overlaps: Name of a test set, by the ids of problems that are in it (``thor_ray.problems.decontamination``).
    """

    def reject(demonstration: Demonstration) -> str | None:
        found = overlaps.get(demonstration.problem_id)
        return None if found is None else f"in {found}"

    return each_alone("not_in_tests", reject, problems=len(overlaps))


def one_per_problem(seed: int) -> Rule[Countable]:
    """One demonstration a problem, drawn at random; in the release this rule never takes effect."""

    def judge(demonstrations: Sequence[Countable]) -> list[str | None]:
        by_problem = defaultdict(list)
        for demonstration in demonstrations:
            by_problem[demonstration.problem_id].append(demonstration.id)
        drawn = {Random(f"{seed}:{problem}").choice(sorted(ids)) for problem, ids in by_problem.items()}
        return [None if each.id in drawn else "another one was drawn" for each in demonstrations]

    return Rule("one_per_problem", judge, {"seed": seed})


def balanced_calls(keep: Mapping[int, float], seed: int) -> Rule[Countable]:
    """Of demonstrations with so many programs, only this share is kept, drawn at random (paper, stage 3).

    Args:
        keep: Share to keep by number of programs; numbers that are missing keep all. The release has ``{1: 0.5}``.
        seed: Of the draw.
    """

    def judge(demonstrations: Sequence[Countable]) -> list[str | None]:
        sizes = Counter(each.calls for each in demonstrations)
        dropped: set[str] = set()
        for calls, share in keep.items():
            ids = sorted(each.id for each in demonstrations if each.calls == calls)
            dropped.update(Random(f"{seed}:{calls}").sample(ids, sizes[calls] - ceil(share * sizes[calls])))
        return [f"{each.calls} programs" if each.id in dropped else None for each in demonstrations]

    return Rule("balanced_calls", judge, {"keep": {str(calls): share for calls, share in keep.items()}, "seed": seed})


def set_rules(seed: int, keep_by_calls: Mapping[int, float]) -> list[Rule[Countable]]:
    """The rules about the whole set, in order."""
    balance = [balanced_calls(keep_by_calls, seed)] if keep_by_calls else []
    return [one_per_problem(seed), *balance]
