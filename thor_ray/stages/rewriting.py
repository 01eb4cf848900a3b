"""Rewrites a solution so that programs do its computations (paper algorithm 1, inner loop; spec section B.1)."""

from collections import deque
from dataclasses import dataclass, replace

from actors.codec import Codec
from actors.episode import reasoning_text
from actors.execution import to_execution_result
from actors.generation import derive_seed
from actors.scorers import CodeRunner, Grader
from thor_ray.demonstrations import Demonstration, DemonstrationWriter, Source
from thor_ray.grading import extract_boxed
from thor_ray.problems import Problem
from thor_ray.refine import Refinement, Refiner
from thor_ray.trajectory import ExecutionStatus


@dataclass(frozen=True, slots=True)
class Rewriter:
    """Rewrites solutions.

    Attributes:
        refiner: Finds what programs can do.
        code_runner: The sandbox.
        grader: Judges answers.
        codec: The policy's tokenizer.
        end_of_sequence: The token that ends the policy's turn.
        template: Prompt template, a key of ``thor_ray.dialogue.PROMPT_TEMPLATES``.
        program_seconds: Wall time of one program.
    """

    refiner: Refiner
    code_runner: CodeRunner
    grader: Grader
    codec: Codec
    end_of_sequence: int
    template: str
    program_seconds: float

    def prompt(self, problem: Problem) -> list[int]:
        """Token ids of the prompt that the policy is given, now and when it learns."""
        return self.codec.encode_prompt(self.template, problem.question)

    async def demonstrate(
        self, problem: Problem, solution: str, source: Source, trajectory_id: str, seed: int
    ) -> Demonstration:
        """Takes a solution apart step by step, runs the programs and grades the result.

        A step is a line, and all that the refiner sees. A value that a program printed replaces the one claimed by hand,
        in the steps that follow as well. The first boxed answer is the end.

        Args:
            problem: What the solution answers.
            solution: Reasoning without tools.
            source: Who wrote it.
            trajectory_id: Unique within the run.
            seed: Decides the styles of programs, together with the id.
        """
        writer = DemonstrationWriter(
            trajectory_id, problem.id, self.prompt(problem), self.codec.encode, self.end_of_sequence
        )
        steps = deque(line.strip() for line in solution.splitlines() if line.strip())
        turn = 0
        while steps and extract_boxed(writer.prose) is None:
            step = writer.with_observed_values(steps.popleft())
            turn_seed = derive_seed(seed, trajectory_id, problem.id, turn)
            turn += 1
            refinement = await self.refiner.refine(step, turn_seed)
            writer.think(refinement.reasoning)
            if not await self._act(refinement, writer, turn_seed):
                break
            if refinement.rest:
                steps.appendleft(refinement.rest)
        return await self._graded(writer, problem, source)

    async def _act(self, refinement: Refinement, writer: DemonstrationWriter, seed: int) -> bool:
        """Runs one draft after the other until one succeeds, and writes each down; whether all is well."""
        result = None
        for draft in refinement.drafts:
            writer.think(draft.plan)
            ran = await self.code_runner.arun(draft.code, timeout=self.program_seconds, seed=seed % 2**32)
            result = to_execution_result(ran, self.program_seconds)
            writer.act(draft.code, result)
            if not result.status.failed:
                break
        if result is None:
            return True
        if refinement.claim is not None:
            writer.settle(refinement.claim, result)
        return result.status is ExecutionStatus.OK

    async def _graded(self, writer: DemonstrationWriter, problem: Problem, source: Source) -> Demonstration:
        trajectory = writer.finish()
        prose = reasoning_text(trajectory, self.codec)
        grade = await self.grader.agrade(prose, problem.answer)
        trajectory = replace(trajectory, answer=grade.extracted, grade_status=grade.status.value, reward=grade.reward)
        return Demonstration(trajectory, source, prose, writer.claims)
