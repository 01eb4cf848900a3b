"""The refiner that asks a language model: judge, extract the reasoning, convert, run, and check (paper algorithm 1, spec B.3).

The model answers with a revision of the step that holds programs and the outputs it expects. Each program runs at once, and
what it really printed replaces the expected output. What the model wrote behind an output stands only if it had expected the
right one; otherwise it is asked to go on from the true output.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from thor_ray.endpoints import (
    EndpointBusyError,
    EndpointError,
    EndpointLostError,
    EndpointRefusedError,
    EndpointTimeoutError,
    EndpointUnreachableError,
)
from thor_ray.refine.agreement import agreement
from thor_ray.refine.chat import ChatModel, ChatReply, Message
from thor_ray.refine.prompt_set import PromptSet
from thor_ray.refine.refinement import NOTHING_USED, Passage, Refinement, Surroundings, Verdict
from thor_ray.refine.reply import OPEN, Segment, UnusableReplyError, read_reply
from thor_ray.refine.revision_checks import RevisionChecks, computes
from thor_ray.trajectory import ExecutionResult, ExecutionStatus
from thor_ray.usage import Usage

Execute = Callable[[str, int], Awaitable[ExecutionResult]]
"""Runs a program under a seed."""

ENDPOINT_VERDICTS: Final[Mapping[type[EndpointError], Verdict]] = {
    EndpointUnreachableError: Verdict.UNREACHABLE,
    EndpointTimeoutError: Verdict.TIMED_OUT,
    EndpointBusyError: Verdict.RATE_LIMITED,
    EndpointRefusedError: Verdict.REFUSED,
}
"""Names of what goes wrong with a server; anything else is ``bad_reply``."""


NO_SURROUNDINGS: Final = Surroundings()


class _RefusedRevision(Exception):
    """The step stays as it is."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class LLMRefiner:
    """Asks a language model, wherever it runs. A revision that is refused leaves the step as it is, under a name.

    Attributes:
        model: Is asked.
        execute: The sandbox.
        prompts: What the model is told.
        checks: What a revision must keep.
        view: How much the model is shown, one of ``thor_ray.refine.prompt_set.STEPS_VIEWS``.
        rounds: Programs per step at the most.
        surroundings: Of the step, for views that show them.
    """

    model: ChatModel
    execute: Execute
    prompts: PromptSet
    checks: RevisionChecks
    view: str = "isolated"
    rounds: int = 5
    surroundings: Surroundings = NO_SURROUNDINGS

    def amid(self, surroundings: Surroundings) -> "LLMRefiner":
        """The same refiner for a step whose surroundings are shown, as far as the view goes."""
        return replace(self, surroundings=surroundings)

    async def refine(self, step: str, seed: int) -> Refinement:
        """Has the step revised; see ``Refiner``. Whatever happens has a verdict, and the step is never lost.

        Raises:
            EndpointLostError: the server has failed so often in a row that it makes no sense to go on.
        """
        revising = _Revising(self, step, seed)
        try:
            conclusion = await revising.run()
        except EndpointLostError:
            raise
        except EndpointError as error:
            verdict = ENDPOINT_VERDICTS.get(type(error), Verdict.BAD_REPLY)
            return self._kept(step, verdict, error.message, revising.usage)
        except UnusableReplyError as error:
            return self._kept(step, error.verdict, str(error), revising.usage)
        except _RefusedRevision as error:
            return self._kept(step, error.verdict, str(error), revising.usage)
        passages = tuple(revising.passages)
        reasoning = "\n".join(text for passage in passages if (text := passage.reasoning.strip()))
        return Refinement(
            Verdict.CODABLE,
            reasoning,
            conclusion=conclusion.strip("\n"),
            passages=passages,
            origin=self.prompts.origin,
            usage=revising.usage,
        )

    def _kept(self, step: str, verdict: Verdict, reason: str, usage: Usage) -> Refinement:
        return Refinement(verdict, step, reason=reason, origin=self.prompts.origin, usage=usage)


class _Revising:
    """One step on its way: what was said, what ran, and what it cost so far."""

    def __init__(self, refiner: LLMRefiner, step: str, seed: int) -> None:
        self.usage = NOTHING_USED
        self.passages: list[Passage] = []
        self._refiner = refiner
        self._step = step
        self._seed = seed
        request = refiner.prompts.request(refiner.view, step, refiner.surroundings)
        self._conversation = [Message("system", refiner.prompts.system), Message("user", request)]

    async def run(self) -> str:
        """Asks until the revision is whole, and checks it; the prose behind the last program.

        Raises:
            EndpointError: the model cannot be asked.
            UnusableReplyError: a reply is no revision.
            _RefusedRevision: the revision must not replace the step.
        """
        while True:
            reply = await self._ask()
            revision = read_reply(reply.text, finished=reply.finished, goes_on=bool(self.passages))
            if not revision.segments and not self.passages:
                raise _RefusedRevision(Verdict.NO_CODE, "the model wrote no program")
            tail: str | None = revision.tail
            for index, segment in enumerate(revision.segments):
                await self._execute(segment)
                nothing_follows = index + 1 == len(revision.segments) and not revision.tail.strip()
                if not nothing_follows and not _was_right(self.passages[-1]):
                    self._say_what_happened(revision.segments[: index + 1])
                    tail = None
                    break
            if tail is not None:
                self._check(tail)
                return tail

    async def _ask(self) -> ChatReply:
        started = time.perf_counter()
        try:
            reply = await self._refiner.model.reply(self._conversation, self._seed + len(self.passages))
        except EndpointError:
            self.usage += Usage(calls=1, seconds=time.perf_counter() - started)
            raise
        self.usage += reply.usage
        return reply

    async def _execute(self, segment: Segment) -> None:
        if len(self.passages) == self._refiner.rounds:
            raise _RefusedRevision(Verdict.TOO_MANY_ROUNDS, f"more than {self._refiner.rounds} programs")
        if not computes(segment.code):
            raise _RefusedRevision(Verdict.NO_COMPUTATION, segment.code)
        result = await self._refiner.execute(segment.code, self._seed)
        if result.status is ExecutionStatus.INFRA_ERROR:
            raise _RefusedRevision(Verdict.SANDBOX_FAILED, result.text)
        if result.status is not ExecutionStatus.OK:
            raise _RefusedRevision(Verdict.CODE_FAILED, f"{result.status}: {result.text}")
        self.passages.append(Passage(segment.prose, segment.code, result, segment.predicted or ""))

    def _say_what_happened(self, stands: tuple[Segment, ...]) -> None:
        """Takes back what the model wrote behind a program, and tells it what that printed."""
        ran = self.passages[-len(stands) :]
        blocks = [f"{passage.reasoning}```python\n{passage.code}\n```\n" for passage in ran]
        outputs = [*(f"```output\n{passage.result.text}\n```\n" for passage in ran[:-1]), ""]
        said = "".join(block + output for block, output in zip(blocks, outputs, strict=True))
        opening = f"{OPEN}\n" if len(ran) == len(self.passages) else ""
        go_on = self._refiner.prompts.go_on(ran[-1].result.text)
        self._conversation += [Message("assistant", opening + said), Message("user", go_on)]

    def _check(self, tail: str) -> None:
        prose = "\n".join([*(passage.reasoning for passage in self.passages), tail])
        programs = [passage.code for passage in self.passages]
        outputs = [passage.result.text for passage in self.passages]
        objection = self._refiner.checks.objection(self._step, prose, programs, outputs)
        if objection is not None:
            raise _RefusedRevision(*objection)


def _was_right(passage: Passage) -> bool:
    """Whether the model knew what its program would print, so that what it wrote behind it stands."""
    printed, predicted = passage.result.text, passage.predicted
    return " ".join(predicted.split()) == " ".join(printed.split()) or agreement(predicted, printed).agrees
