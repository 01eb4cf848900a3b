"""Rewrites a solution so that programs do its computations (paper algorithm 1, inner loop; spec section B.1)."""

from collections import deque
from dataclasses import dataclass, replace

from actors.codec import Codec
from actors.episode import reasoning_text
from actors.execution import to_execution_result
from actors.generation import derive_seed
from actors.scorers import CodeRunner, Grader
from thor_ray.demonstrations import Block, Demonstration, DemonstrationWriter, RefinedStep, Source
from thor_ray.grading import extract_boxed
from thor_ray.problems import Problem
from thor_ray.refine import Refinement, Refiner
from thor_ray.tirgen import split_steps
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

        A step, ``thor_ray.tirgen.split_steps``, is all that the refiner sees. A value that a program printed replaces the one claimed by hand,
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
        steps = deque(enumerate(split_steps(solution)))
        refined: list[RefinedStep] = []
        while steps and extract_boxed(writer.prose) is None:
            index, text = steps.popleft()
            step = writer.with_observed_values(text)
            turn_seed = derive_seed(seed, trajectory_id, problem.id, len(refined))
            refinement = await self.refiner.refine(step, turn_seed)
            writer.think(refinement.reasoning)
            blocks = await self._act(refinement, writer, turn_seed)
            claim = writer.claims[-1] if blocks and refinement.claim is not None else None
            kind = "" if refinement.claim is None else refinement.claim.operation.kind
            conclusion = writer.with_observed_values(refinement.conclusion)
            refined.append(
                RefinedStep(index, step, refinement.verdict, refinement.reasoning, blocks, claim, kind, conclusion)
            )
            if not _may_go_on(refinement, refined[-1]):
                break
            writer.think(conclusion)
            if refinement.rest:
                steps.appendleft((index, refinement.rest))
        return await self._graded(writer, problem, source, tuple(refined))

    async def _act(self, refinement: Refinement, writer: DemonstrationWriter, seed: int) -> tuple[Block, ...]:
        """Runs one draft after the other until one succeeds, and writes each down; what ran."""
        result, blocks = None, []
        for draft in refinement.drafts:
            writer.think(draft.plan)
            ran = await self.code_runner.arun(draft.code, timeout=self.program_seconds, seed=seed % 2**32)
            result = to_execution_result(ran, self.program_seconds)
            writer.act(draft.code, result)
            blocks.append(Block(draft.code, result.status, result.text))
            if not result.status.failed:
                break
        if result is not None and refinement.claim is not None:
            writer.settle(refinement.claim, result)
        return tuple(blocks)

    async def _graded(
        self, writer: DemonstrationWriter, problem: Problem, source: Source, steps: tuple[RefinedStep, ...]
    ) -> Demonstration:
        trajectory = writer.finish()
        prose = reasoning_text(trajectory, self.codec)
        grade = await self.grader.agrade(prose, problem.answer)
        trajectory = replace(trajectory, answer=grade.extracted, grade_status=grade.status.value, reward=grade.reward)
        response = self.codec.decode(trajectory.ids[trajectory.prompt_length : -1])
        return Demonstration(trajectory, source, prose, writer.claims, steps, response)


def _may_go_on(refinement: Refinement, step: RefinedStep) -> bool:
    """Whether the reasoning still holds: its program ran, and did not refute a statement that no value can mend."""
    if not step.blocks:
        return True
    if step.blocks[-1].status is not ExecutionStatus.OK:
        return False
    is_statement = refinement.claim is not None and refinement.claim.question
    return not is_statement or step.claim is None or step.claim.agrees
