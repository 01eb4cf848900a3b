"""Which problems a policy solves without tools (paper section 2.2, stage 3): they have nothing to teach about tools."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from thor_ray.files import drop_torn_line, naming_full_disks
from thor_ray.grading import GradeStatus
from thor_ray.problems import Problem
from thor_ray.stages.candidates import BATCHES_AT_A_TIME, ROOM, Batch, batches
from thor_ray.stages.rewriting import Rewriter
from thor_ray.tirgen.generation import Generator
from thor_ray.tirgen.streaming import Stage, stream

DIFFICULTY: Final = "difficulty.jsonl"
"""One graded sample a line, appended as they come."""

GRADED_AT_A_TIME: Final = 64


class DifficultyLog:
    """Graded samples without tools, on disk the moment they are graded; what is there is not sampled again.

    Args:
        path: The file; made with the first sample.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        *lines, _torn = path.read_bytes().split(b"\n") if path.exists() else [b""]
        self._whole = False
        self._solved: dict[tuple[str, int], bool] = {}
        self.tokens = 0
        """Of all samples."""
        for row in map(json.loads, lines):
            self._note(row["problem_id"], row["sample"], row["solved"], row["tokens"])

    def __contains__(self, key: tuple[str, int]) -> bool:
        return key in self._solved

    def append(self, problem_id: str, sample: int, solved: bool, tokens: int) -> None:
        """Writes down one sample.

        Raises:
            DiskFullError: no room.
        """
        row = {"problem_id": problem_id, "sample": sample, "solved": solved, "tokens": tokens}
        if not self._whole:
            # Not before something is written: a reader leaves the file of a run that goes on as it is.
            self.path.parent.mkdir(parents=True, exist_ok=True)
            drop_torn_line(self.path)
            self._whole = True
        with naming_full_disks(self.path), self.path.open("ab", buffering=0) as file:
            file.write(json.dumps(row).encode() + b"\n")
        self._note(problem_id, sample, solved, tokens)

    def shares(self) -> dict[str, float]:
        """Share of samples that are right, by problem id."""
        tried = Counter(problem for problem, _ in self._solved)
        solved = Counter(problem for (problem, _), right in self._solved.items() if right)
        return {problem: solved[problem] / count for problem, count in tried.items()}

    def _note(self, problem_id: str, sample: int, solved: bool, tokens: int) -> None:
        self._solved[problem_id, sample] = solved
        self.tokens += tokens


async def measure_difficulty(
    problems: Sequence[tuple[int, Problem]],
    samples: int,
    generator: Generator,
    rewriter: Rewriter,
    seed: int,
    log: DifficultyLog,
    batches_at_a_time: int = BATCHES_AT_A_TIME,
) -> dict[str, float]:
    """Has the generator solve each problem without tools, and grades it; what the log holds already is not done again.

    Args:
        problems: With their positions among all problems.
        samples: Of each problem.
        generator: Writes solutions.
        rewriter: Its prompts, tokenizer and grader are used.
        seed: Of the run.
        log: Gets each sample.
        batches_at_a_time: Calls of the generator under way.

    Returns:
        The share of samples that are right, by problem id.
    """

    async def generate(batch: Batch) -> list[tuple[Problem, int, str]]:
        prompts = [rewriter.generator_prompt(problem) for _, problem in batch.problems]
        texts = await generator.sample(prompts, batch.seed)
        return [
            (problem, batch.attempt, text)
            for (_, problem), text in zip(batch.problems, texts, strict=True)
            if (problem.id, batch.attempt) not in log
        ]

    async def grade(sampled: tuple[Problem, int, str]) -> list[tuple[str, int, bool, int]]:
        problem, sample, text = sampled
        grade = await rewriter.grader.agrade(text, problem.answer)
        return [(problem.id, sample, grade.status is GradeStatus.CORRECT, len(rewriter.codec.encode(text)))]

    left = (
        batch
        for batch in batches(problems, samples, seed, "difficulty")
        if any((problem.id, batch.attempt) not in log for _, problem in batch.problems)
    )
    stages = [Stage(generate, batches_at_a_time), Stage(grade, GRADED_AT_A_TIME)]
    await stream(left, stages, lambda graded: log.append(*graded), ROOM)
    return log.shares()
