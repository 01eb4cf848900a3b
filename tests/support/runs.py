"""A small run with a bit of everything, made by the real builder, tokenizer and run log."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from thor_ray.config import Recipe
from thor_ray.dialogue import render_action, render_observation
from thor_ray.fleet_record import FLEET_FILE, EngineSeen, FleetLook, ProcessSeen
from thor_ray.metrics import round_metrics
from thor_ray.records import Learned, Stage
from thor_ray.runlog import RunLog
from thor_ray.trajectory import (
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    Group,
    GroupKind,
    SpanKind,
    Trajectory,
    TrajectoryBuilder,
)

OK = ExecutionResult(ExecutionStatus.OK, "36", wall_seconds=0.004)
FAILED = ExecutionResult(ExecutionStatus.EXCEPTION, "NameError: name 'gcd' is not defined", "NameError", 0.003)
QUESTION = "Find the greatest common divisor of 36 and 108.\n"
GOLD = {f"gcd-{number}": "36" for number in range(40)}


def byte_tokenizer() -> Tokenizer:
    """One token a byte: the plainest tokenizer that can say anything."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: index for index, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


TOKENIZER = byte_tokenizer()


def encode(text: str) -> list[int]:
    return list(TOKENIZER.encode(text).ids)


def say(builder: TrajectoryBuilder, kind: SpanKind, text: str, version: int = 3) -> None:
    ids = encode(text)
    builder.append_sampled(kind, ids, [-0.25 - 0.5 * (index % 3) for index in range(len(ids))], version)
    builder.cost.generated_tokens += len(ids)


def run_code(builder: TrajectoryBuilder, code: str, result: ExecutionResult, version: int = 3) -> None:
    say(builder, SpanKind.ACTION, render_action(code), version)
    action = builder.spans[-1]
    seen = builder.append_written(SpanKind.OBSERVATION, encode(render_observation(result.text)))
    builder.close_step(action, seen, code, result)
    builder.cost.sandbox_calls += 1


def trajectory(
    name: str,
    problem: str = "gcd-0",
    results: Sequence[ExecutionResult] = (OK,),
    answer: str = "36",
    corrected: int = 0,
    extra: str = "",
) -> Trajectory:
    """A solved problem: a thought and a block per result, attempts cut away before the first, a boxed answer."""
    builder = TrajectoryBuilder(name, problem, encode(QUESTION))
    for result in results:
        say(builder, SpanKind.THOUGHT, f"The numbers are 36 and 108{extra}. I compute their gcd.\n")
        if corrected and not builder.steps:
            for _ in range(corrected):
                cut = len(builder) - 5
                say(builder, SpanKind.ACTION, render_action("print(gcd(36, 108))"))
                builder.cut_back(cut, 0, "print(gcd(36, 108))", FAILED)
                say(builder, SpanKind.THOUGHT, "gcd.\n", version=4)
        code = "from math import gcd\nprint(gcd(36, 108))" if result is OK else "print(gcd(36, 108))"
        run_code(builder, code, result)
    say(builder, SpanKind.ANSWER, f"So the answer is \\boxed{{{answer}}}.")
    right = answer == "36"
    return builder.finish(FinishReason.ANSWERED, answer, "correct" if right else "wrong", float(right))


def continuation(name: str, parent: Trajectory) -> Trajectory:
    """A step-level branch of the parent's first step."""
    builder = TrajectoryBuilder.branch(name, parent, 0, parent.steps[0].thought.end - 8)
    say(builder, SpanKind.THOUGHT, "using math.\n", version=5)
    run_code(builder, "import math\nprint(math.gcd(36, 108))", OK, version=5)
    return builder.finish(FinishReason.STEP_DONE, reward=1.0)


def evaluation(stage: Stage, kinds: Sequence[Trajectory]) -> list[Group]:
    """One group per problem."""
    return [Group(f"{stage}/{item.id}", GroupKind.EPISODE, item.problem_id, (item,)) for item in kinds]


def write_run(path: Path, command: str = "smoke") -> Path:
    """A finished run of every stage; returns its directory."""
    TOKENIZER.save(str(path.parent / "tokenizer.json"))
    with RunLog.create(path, Recipe(name=path.name, seed=7), command) as run:
        run.keep_tokenizer(path.parent)
        with run.stage(Stage.EVALUATE_BASE):
            base = [trajectory(f"base/{n}", f"gcd-{n}", (), "12") for n in range(8)]
            run.record_groups(evaluation(Stage.EVALUATE_BASE, base), Stage.EVALUATE_BASE, 0, gold_answers=GOLD)
        with run.stage(Stage.EVALUATE_COLD_START):
            cold = [
                trajectory(f"cold/{n}", f"gcd-{n}", ((OK,), (FAILED, OK), (FAILED,))[n % 3], "36" if n % 2 else "18")
                for n in range(24)
            ]
            groups = evaluation(Stage.EVALUATE_COLD_START, cold)
            run.record_groups(groups, Stage.EVALUATE_COLD_START, 0, gold_answers=GOLD)
        with run.stage(Stage.RL):
            for number in range(12):
                write_rl_round(run, number)
        with run.stage(Stage.EVALUATE_RL):
            after = [trajectory(f"after/{n}", f"gcd-{n}", (OK,), "18" if n % 5 == 0 else "36") for n in range(24)]
            run.record_groups(evaluation(Stage.EVALUATE_RL, after), Stage.EVALUATE_RL, 0, gold_answers=GOLD)
        with run.stage(Stage.EVALUATE_RL_SELF_CORRECTION):
            stage = Stage.EVALUATE_RL_SELF_CORRECTION
            corrected = [
                trajectory(f"corrected/{n}", f"gcd-{n}", (OK,), "18" if n % 6 == 0 else "36", corrected=n % 3)
                for n in range(24)
            ]
            run.record_groups(evaluation(stage, corrected), stage, 0, gold_answers=GOLD)
    (path / "logs" / FLEET_FILE).write_bytes(b"".join(look.to_line() for look in fleet_looks()))
    return path


def fleet_looks() -> list[FleetLook]:
    """Three looks at two engines, of which the second falls behind."""
    return [
        FleetLook(
            time=f"2026-01-01T00:00:{10 * number:02d}+00:00",
            attempt=1,
            learner_version=number + 1,
            engines=(
                EngineSeen(True, number + 1, 1000 * number, f"2026-01-01T00:00:{10 * number:02d}+00:00", 40 * number),
                EngineSeen(True, 1, 800, "2026-01-01T00:00:00+00:00", 12),
            ),
            processes=(ProcessSeen(11, "driver", 700), ProcessSeen(12, "RolloutActor", 1500 + number)),
        )
        for number in range(3)
    ]


def write_rl_round(run: RunLog, number: int) -> None:
    """A kept and a dropped episode group and a step group, with metrics and a publication."""
    kept = [
        trajectory(f"rl{number}/e0.{m}", "gcd-30", (OK,) if m + number > 3 else (FAILED, OK), "36" if m % 2 else "9")
        for m in range(4)
    ]
    alike = [trajectory(f"rl{number}/e1.{m}", "gcd-31", (FAILED,), "9") for m in range(2)]
    branches = [continuation(f"rl{number}/s0.{m}", alike[0]) for m in range(2)]
    groups = [
        Group(f"rl{number}/e0", GroupKind.EPISODE, "gcd-30", tuple(kept)),
        Group(f"rl{number}/e1", GroupKind.EPISODE, "gcd-31", tuple(alike), "zero_variance"),
        Group(f"rl{number}/s0", GroupKind.STEP, "gcd-31", tuple(branches)),
    ]
    learned = {kept[0].id: Learned(advantage=-0.866), kept[1].id: Learned(excluded="failed_code")}
    run.record_groups(groups, Stage.RL, number, gold_answers=GOLD, learned=learned)
    run.record_metrics(Stage.RL, number, round_metrics(groups, 2.0))
    run.record_publication(Stage.RL, number, number + 1, True, 2.5e-6)
    if number % 4 == 3:
        mid = [trajectory(f"mid{number}/{n}", f"gcd-{n}", (OK,), "36" if n < number else "9") for n in range(12)]
        run.record_groups(evaluation(Stage.EVALUATE_DURING_RL, mid), Stage.EVALUATE_DURING_RL, number)
