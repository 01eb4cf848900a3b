"""Trajectories of code benchmarks, from scripted tokens to the verdict of a real sandbox."""

import pickle
from collections.abc import Iterator

import pytest
from transformers import PreTrainedTokenizerFast

from actors.codec import TokenizerCodec
from actors.generation import GenerationRequest
from actors.program_scorer import ProgramScorer
from actors.sampler import RolloutSettings, TrajectorySampler
from actors.scorers import Scored
from actors.scripted import ScriptedEngine
from sandbox import Limits, Sandbox
from tests.support.code_problems import GREETING, livecodebench_row
from thor_ray.code_benchmarks import CodeProblem
from thor_ray.code_benchmarks.evalplus import parse_problem
from thor_ray.code_benchmarks.livecodebench import parse_problem as parse_livecodebench
from thor_ray.config import SamplingConfig
from thor_ray.dialogue import ACTION_CLOSE, ACTION_OPEN
from thor_ray.grading import GraderPool, GradeStatus
from thor_ray.tiny.tokenizer import train_tokenizer

RIGHT = "def greet(name):\n    return 'hello ' + name"
SETTINGS = RolloutSettings(SamplingConfig(max_new_tokens=600), "bare", max_context=4000)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer([RIGHT, "Let us write a program. It is done."])


@pytest.fixture(scope="module")
def small_sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1, limits=Limits(memory_bytes=256 << 20)) as sandbox:
        yield sandbox


async def scored(writes: list[str], problem: CodeProblem, tokenizer: PreTrainedTokenizerFast, box: Sandbox) -> Scored:
    """What becomes of a policy that writes these texts, one after each observation."""
    codec = TokenizerCodec(tokenizer)

    def script(request: GenerationRequest) -> list[int]:
        text = codec.decode(request.ids)
        whole = writes[min(text.count("```output\n"), len(writes) - 1)]
        before, fence, action = whole.partition(ACTION_OPEN)
        inside = text.rfind(ACTION_OPEN) > text.rfind(ACTION_CLOSE)
        return [*codec.encode(action if inside else before + fence + action), tokenizer.eos_token_id]

    engine = ScriptedEngine(codec, tokenizer.eos_token_id, script, 0.0)
    scorer = pickle.loads(pickle.dumps(ProgramScorer(problem)))
    with GraderPool() as grader:
        sampler = TrajectorySampler(engine, codec, box, grader)
        return await sampler.sample_scored(
            problem.to_problem(), scorer=scorer, settings=SETTINGS, seed=0, trajectory_id="t"
        )


@pytest.mark.parametrize(
    ("writes", "status"),
    [
        ([f"Let us write it.\n```python\n{RIGHT}\n```\n", "It is done."], GradeStatus.CORRECT),
        (["Let us write it.\n```python\ndef greet(name):\n    return name\n```\n", "Done."], GradeStatus.WRONG),
        (["I cannot do it."], GradeStatus.NO_BOX),
    ],
)
async def test_the_program_of_a_trajectory_is_judged_by_tests(tokenizer, small_sandbox, writes, status) -> None:
    result = await scored(writes, parse_problem(GREETING, "test"), tokenizer, small_sandbox)
    assert result.grade is not None
    assert (result.grade.status, result.grade.path) == (status, "tests")
    assert result.trajectory.reward == (1.0 if status is GradeStatus.CORRECT else 0.0)
    assert result.trajectory.grade_status == status.value


async def test_the_last_program_counts_that_defines_the_function(tokenizer, small_sandbox) -> None:
    writes = [
        "First:\n```python\ndef greet(name):\n    return 1 / 0\n```\n",
        f"No:\n```python\n{RIGHT}\n```\n",
        "A try:\n```python\nprint(3)\n```\n",
        "It is done.",
    ]
    result = await scored(writes, parse_problem(GREETING, "test"), tokenizer, small_sandbox)
    assert len(result.trajectory.steps) == 3
    assert result.trajectory.reward == 1.0


async def test_scripts_are_judged_too(tokenizer, small_sandbox) -> None:
    text = ["```python\nprint(sum(map(float, input().split())))\n```\n", "Done."]
    problem = parse_livecodebench(livecodebench_row("stdin"), "lcb")
    result = await scored(text, problem, tokenizer, small_sandbox)
    assert result.trajectory.reward == 1.0


async def test_a_broken_reference_is_our_failure(tokenizer, small_sandbox) -> None:
    problem = parse_problem(GREETING | {"canonical_solution": "def greet(name): return 1 / 0"}, "test")
    result = await scored([f"```python\n{RIGHT}\n```\n", "Done."], problem, tokenizer, small_sandbox)
    assert result.grade is not None
    assert result.grade.status is GradeStatus.ERROR
    assert "reference solution of Mbpp/901 fails" in result.grade.reason
    assert result.trajectory.reward is None
