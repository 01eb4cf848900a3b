"""Rewrites a solution so that programs do its computations (paper algorithm 1, inner loop; spec section B.1)."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from actors.codec import Codec
from actors.episode import reasoning_text
from actors.execution import to_execution_result
from actors.generation import derive_seed
from actors.scorers import CodeRunner, Grader
from thor_ray.demonstrations import Block, CheckedClaim, Demonstration, DemonstrationWriter, RefinedStep, Source
from thor_ray.dialogue import PROMPT_TEMPLATES
from thor_ray.grading import extract_boxed
from thor_ray.problems import Problem
from thor_ray.refine import Refinement, Refiner, Surroundings, Verdict
from thor_ray.tirgen.generation import THINK_CLOSE, Cut, Generator, Piece, cut_lines
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
        cut: Cuts a solution into the pieces that the refiner sees.
        generator: Goes on behind each step that has been rewritten, so that what follows knows what the programs printed;
            ``None`` takes solutions as they are.
        generator_template: Of the generator's own prompts; ``None`` is ``template``.
        refiner_amid: Makes the refiner of one step that is shown what stands around it; ``None`` shows ``refiner`` the
            isolated step alone, as the paper does.
    """

    refiner: Refiner
    code_runner: CodeRunner
    grader: Grader
    codec: Codec
    end_of_sequence: int
    template: str
    program_seconds: float
    cut: Cut = cut_lines
    generator: Generator | None = None
    generator_template: str | None = None
    refiner_amid: Callable[[Surroundings], Refiner] | None = None

    def prompt(self, problem: Problem) -> list[int]:
        """Token ids of the prompt that the policy is given, now and when it learns."""
        return self.codec.encode_prompt(self.template, problem.question)

    def generator_prompt(self, problem: Problem) -> list[int]:
        """Token ids of the prompt that the generator is given: it writes without tools."""
        return self.codec.encode_prompt(self.generator_template or self.template, problem.question)

    async def demonstrate(
        self, problem: Problem, solution: str, source: Source, trajectory_id: str, seed: int
    ) -> Demonstration:
        """Takes a solution apart step by step, runs the programs and grades the result.

        A piece of ``cut`` is all that the refiner sees. A value that a program printed replaces the one claimed by hand,
        in the steps that follow as well. The first boxed answer, behind the thinking part if there is one, is the end.

        Args:
            problem: What the solution answers.
            solution: Reasoning without tools.
            source: Who wrote it. What the generator wrote behind a rewritten step it writes anew, if there is one here.
            trajectory_id: Unique within the run.
            seed: Decides the styles of programs, together with the id.
        """
        writer = DemonstrationWriter(
            trajectory_id, problem.id, self.prompt(problem), self.codec.encode, self.end_of_sequence
        )
        generator = self.generator if source is Source.GENERATOR else None
        pieces = deque(enumerate(self.cut(solution)))
        refined: list[RefinedStep] = []
        while pieces and not self._is_answered(writer.prose):
            index, piece = pieces.popleft()
            text = writer.with_observed_values(piece.text)
            turn_seed = derive_seed(seed, trajectory_id, problem.id, len(refined))
            refinement = await self._refine(text, piece, writer, problem, turn_seed)
            refined.append(await self._write(index, text, refinement, writer, turn_seed))
            if not _may_go_on(refinement, refined[-1]):
                break
            if refinement.rest:
                pieces.appendleft((index, Piece(f"{refinement.rest}\n")))
            elif generator is not None and any(step.blocks for step in refined if step.index == index):
                prompt = [*self.generator_prompt(problem), *self.codec.encode(writer.response)]
                (continuation,) = await generator.sample([prompt], derive_seed(turn_seed, "continuation"))
                pieces = deque(enumerate(self.cut(continuation), start=index + 1))
        return await self._graded(writer, problem, source, tuple(refined))

    def _is_answered(self, prose: str) -> bool:
        if not PROMPT_TEMPLATES[self.template].thinking:
            return extract_boxed(prose) is not None
        _, closing, answer = prose.partition(THINK_CLOSE)
        return bool(closing) and extract_boxed(answer) is not None

    async def _refine(
        self, text: str, piece: Piece, writer: DemonstrationWriter, problem: Problem, seed: int
    ) -> Refinement:
        """What the refiner makes of a piece; it sees no line's end."""
        step = text.rstrip("\n")
        if piece.left_alone is not None or not step.strip():
            return Refinement(Verdict.NOT_SHOWN, step, reason=piece.left_alone or "blank")
        if self.refiner_amid is None:
            return await self.refiner.refine(step, seed)
        return await self.refiner_amid(Surroundings(problem.question, writer.response)).refine(step, seed)

    async def _write(
        self, index: int, text: str, refinement: Refinement, writer: DemonstrationWriter, seed: int
    ) -> RefinedStep:
        """Writes down what became of a piece, word for word if it stays what it is."""
        if refinement.verdict is not Verdict.CODABLE:
            writer.write(text)
            blocks: tuple[Block, ...] = ()
        elif refinement.passages:
            blocks = _write_passages(refinement, writer)
        else:
            writer.think(refinement.reasoning)
            blocks = await self._act(refinement, writer, seed)
        claim = writer.claims[-1] if blocks and (refinement.claim or refinement.passages[-1:]) else None
        conclusion = writer.with_observed_values(refinement.conclusion)
        step = RefinedStep(
            index,
            text.rstrip("\n"),
            refinement.verdict,
            refinement.reasoning,
            blocks,
            claim,
            "" if refinement.claim is None else refinement.claim.operation.kind,
            conclusion,
            refinement.reason,
            refinement.origin,
            refinement.usage,
        )
        if _may_go_on(refinement, step):
            writer.think(conclusion)
        return step

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


def _write_passages(refinement: Refinement, writer: DemonstrationWriter) -> tuple[Block, ...]:
    """Writes down programs that have run already; a prediction is a claim that its program has settled."""
    for passage in refinement.passages:
        writer.write(passage.reasoning)
        writer.act(passage.code, passage.result)
        printed = passage.result.text.strip()
        writer.check(CheckedClaim(passage.code, passage.predicted or printed, printed))
    return tuple(Block(each.code, each.result.status, each.result.text) for each in refinement.passages)
