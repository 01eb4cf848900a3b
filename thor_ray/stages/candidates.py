"""Candidates for the cold start on their way: generated, rewritten, filtered and written down side by side.

A stage that is slow slows those before it (``thor_ray.tirgen.streaming``): no more is generated than can be rewritten, no
more rewritten than can be written down.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from actors.codec import Codec
from actors.generation import derive_seed
from thor_ray.demonstrations import Demonstration, Rule, Source, objection
from thor_ray.problems import Problem
from thor_ray.stages.rewriting import Rewriter
from thor_ray.tirgen.costs import CandidateCost
from thor_ray.tirgen.generation import Generator, Prompt
from thor_ray.tirgen.ledger import Candidate, CandidateKey, Ledger
from thor_ray.tirgen.streaming import Stage, stream
from thor_ray.usage import Usage

REWRITTEN_AT_A_TIME: Final = 64
"""Solutions that refiner and sandbox are busy with."""

BATCHES_AT_A_TIME: Final = 2
"""Batches that one engine is given: the next is there when the last ones of a batch are still being sampled."""

PROMPTS_PER_BATCH: Final = 256
"""Prompts of one call of the generator. What is sampled depends on it, since a batch shares a seed."""

ROOM: Final = 64
"""Candidates that wait before each stage."""

OnProgress = Callable[[int, Mapping[str, Any], int], None]
"""Called with the number of candidates that are done, figures so far, and how many there will be; those of earlier attempts
count in none of them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Problems that the generator is asked about in one call; the same ones however often the run is stopped.

    Attributes:
        attempt: Which of the attempts at these problems.
        seed: Of all samples.
        problems: With their positions among all problems.
    """

    attempt: int
    seed: int
    problems: Sequence[tuple[int, Problem]]


@dataclass(frozen=True, slots=True)
class Draft:
    """A solution that is to be rewritten.

    Attributes:
        key: Names the candidate.
        id: Of its trajectory.
        problem: What it answers.
        text: The solution.
        generated_tokens: What it cost the generator.
    """

    key: CandidateKey
    id: str
    problem: Problem
    text: str
    generated_tokens: int = 0


def batches(problems: Sequence[tuple[int, Problem]], attempts: int, seed: int, name: str) -> Iterator[Batch]:
    """All samples of the problems, attempt by attempt, in calls of the generator; ``name`` keeps their seeds apart."""
    for attempt in range(attempts):
        attempt_seed = derive_seed(seed, name, attempt)
        for index, start in enumerate(range(0, len(problems), PROMPTS_PER_BATCH)):
            yield Batch(attempt, derive_seed(attempt_seed, index), problems[start : start + PROMPTS_PER_BATCH])


@dataclass(slots=True)
class Meter:
    """Tells how far the work is.

    Attributes:
        tell: Who wants to know.
        total: Candidates that this attempt at the run has to make, as far as is known.
    """

    tell: OnProgress
    total: int = 0
    done: int = 0
    kept: int = 0
    started: float = field(default_factory=time.monotonic)

    def advance(self, kept: bool) -> None:
        """One more candidate is written down."""
        self.done += 1
        self.kept += kept
        rate = self.done / max(time.monotonic() - self.started, 1e-9)
        self.tell(self.done, {"kept": self.kept, "candidates/s": rate}, self.total)


class CountingGenerator:
    """A generator that counts what it writes for one candidate.

    Args:
        generator: Who writes.
        codec: Counts tokens.
    """

    def __init__(self, generator: Generator, codec: Codec) -> None:
        self._generator = generator
        self._codec = codec
        self.tokens = 0

    @property
    def usage(self) -> Usage:
        """What the generator has consumed so far, for whomever."""
        return self._generator.usage

    async def sample(self, prompts: Sequence[Prompt], seed: int) -> list[str]:
        """See ``Generator``."""
        texts = await self._generator.sample(prompts, seed)
        self.tokens += sum(len(self._codec.encode(text)) for text in texts)
        return texts


@dataclass(frozen=True, slots=True)
class CandidateMill:
    """Makes candidates out of solutions.

    Attributes:
        generator: Writes solutions.
        rewriter: Refiner, sandbox and grader.
        rules: About single demonstrations, in order.
        ledger: What is finished; gets what is made.
        seed: Of the run.
        attempts_of: How many problems there are, which ids of trajectories count by.
        meter: Told of each candidate.
        batches_at_a_time: Calls of the generator under way.
    """

    generator: Generator
    rewriter: Rewriter
    rules: Sequence[Rule[Demonstration]]
    ledger: Ledger
    seed: int
    meter: Meter
    batches_at_a_time: int = BATCHES_AT_A_TIME

    async def attempt(self, problems: Sequence[tuple[int, Problem]], attempts: int, of: int) -> None:
        """Has the generator solve problems, given with their positions among ``of``, and rewrites what it wrote."""

        def keys(batch: Batch) -> list[tuple[int, Problem, CandidateKey]]:
            named = ((*each, CandidateKey(Source.GENERATOR, batch.attempt, each[1].id)) for each in batch.problems)
            return [each for each in named if each[2] not in self.ledger]

        async def generate(batch: Batch) -> list[Draft]:
            # All of the batch, whatever is finished of it: another batch would be sampled otherwise.
            prompts = [self.rewriter.generator_prompt(problem) for _, problem in batch.problems]
            texts = await self.generator.sample(prompts, batch.seed)
            by_position = {position: text for (position, _), text in zip(batch.problems, texts, strict=True)}
            return [
                Draft(
                    key,
                    f"tirgen/{Source.GENERATOR}/{batch.attempt * of + position}",
                    problem,
                    by_position[position],
                    len(self.rewriter.codec.encode(by_position[position])),
                )
                for position, problem, key in keys(batch)
            ]

        asked = list(batches(problems, attempts, self.seed, "generator"))
        self.meter.total += sum(len(keys(batch)) for batch in asked)
        await self._refine((batch for batch in asked if keys(batch)), [Stage(generate, self.batches_at_a_time)])

    async def rewrite(self, problems: Sequence[Problem]) -> None:
        """Rewrites the worked solutions of problems; those without one are left out."""
        drafts = [
            Draft(key, f"tirgen/{Source.WORKED_SOLUTION}/{index}", problem, problem.solution)
            for index, problem in enumerate(each for each in problems if each.solution is not None)
            if problem.solution is not None
            and (key := CandidateKey(Source.WORKED_SOLUTION, 0, problem.id)) not in self.ledger
        ]
        self.meter.total += len(drafts)
        await self._refine(drafts, [])

    async def _refine(self, source: Iterable[Any], before: Sequence[Stage]) -> None:
        """Streams what leaves the stages ``before`` through refiner, sandbox and filters into the ledger."""

        async def rewrite(draft: Draft) -> list[tuple[Draft, Demonstration]]:
            generator = None
            if self.rewriter.generator is not None:
                generator = CountingGenerator(self.rewriter.generator, self.rewriter.codec)
            rewriter = replace(self.rewriter, generator=generator)
            demonstration = await rewriter.demonstrate(draft.problem, draft.text, draft.key.source, draft.id, self.seed)
            continued = 0 if generator is None else generator.tokens
            return [(replace(draft, generated_tokens=draft.generated_tokens + continued), demonstration)]

        async def judge(rewritten: tuple[Draft, Demonstration]) -> list[Candidate]:
            draft, demonstration = rewritten
            cost = CandidateCost(
                draft.generated_tokens,
                demonstration.usage.completion_tokens,
                demonstration.trajectory.cost.tool_seconds,
            )
            return [Candidate(draft.key, draft.text, demonstration, objection(self.rules, demonstration), cost)]

        def write(candidate: Candidate) -> None:
            self.ledger.append(candidate)
            self.meter.advance(candidate.rejection is None)

        await stream(source, [*before, Stage(rewrite, REWRITTEN_AT_A_TIME), Stage(judge, 1)], write, ROOM)
