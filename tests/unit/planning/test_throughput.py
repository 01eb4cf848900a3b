"""Predictions: against three real runs, and against what can be worked out by hand."""

import gzip
import json
from pathlib import Path
from statistics import median

import pytest

from thor_ray.config import load_recipe
from thor_ray.errors import UserError
from thor_ray.planning import GPUS, Lengths, Rates, predictions, roofline, shape_of, splits
from thor_ray.planning.lengths import Trajectory
from thor_ray.planning.measured import MeasuredRun, measured_from_json

RUNS = Path(__file__).parent / "runs"
SMALL = ["rl.groups_per_round=64", "rl.group_size=4", "rl.step_level=false", "engine.max_sequences=32"]
SMALL += ["rl.objective.denominator=per_level"]
EVEN = Lengths((Trajectory(1000),), (), "all alike")


def rates(sequence: float = 0.0, learner: float = 0.001, publish: float = 0.0) -> Rates:
    """Of engines whose sequences make 100 tokens a second, however many they are."""
    return Rates(0.01, sequence, 0.0, learner, publish, 0.0, "test")


def best(overrides: list[str], gpus: int, speed: Rates, lengths: Lengths = EVEN):
    recipe = load_recipe("smoke", [*SMALL, *overrides])
    return predictions(splits(recipe, gpus, None, None), gpus, speed, lengths, None)[0]


def recorded(name: str) -> MeasuredRun:
    return measured_from_json(gzip.decompress((RUNS / f"{name}.json.gz").read_bytes()).decode())


@pytest.mark.parametrize("known", [0, 1])
@pytest.mark.parametrize("name", ["smoke-0", "smoke-1", "smoke-2"])
def test_rounds_of_a_real_run_are_predicted_from_its_other_rounds(name, known):
    """The prediction knows every other round only, and nothing of how long rounds lasted but for which was in the middle.

    Medians, since the machine had other work: single rounds took twice as long.
    """
    run, recipe = recorded(name), load_recipe("smoke")
    told = run.only({each.index for each in run.rounds if each.index % 2 == known})
    hidden = run.only({each.index for each in run.rounds if each.index % 2 != known})
    assert len(hidden.rounds) >= 14
    (found,) = predictions(splits(recipe, 2, None, None), 2, told.rates(), told.lengths(), None)
    assert found.round_seconds == pytest.approx(median(each.seconds for each in hidden.rounds), rel=0.2)
    speeds = [each.tokens / each.seconds for each in hidden.rounds]
    assert found.tokens_per_second == pytest.approx(median(speeds), rel=0.2)
    waited = median(each.sampling_seconds / each.seconds for each in hidden.rounds)
    assert found.idle_learner == pytest.approx(waited, abs=0.1)


def test_a_synchronous_round_is_sampled_then_learnt():
    # One engine has 8 places for 64 groups of 10 s; the learner takes 64 * 4,000 tokens of 1 ms.
    found = best(["rl.stream.max_staleness=0"], 2, rates(publish=4.0))
    assert found.round_seconds == pytest.approx(80 + 256 + 4)
    assert found.tokens_per_second == pytest.approx(64 * 4000 / 340)
    assert found.idle_learner == pytest.approx(80 / 340)
    assert found.idle_engines == pytest.approx(260 / 340)
    assert found.staleness_worst == 0


def test_a_stream_is_as_fast_as_its_slower_side():
    found = best(["rl.stream.max_staleness=2"], 2, rates())
    assert found.round_seconds == pytest.approx(256)
    assert found.idle_learner == pytest.approx(0, abs=0.01)
    assert 0 < found.staleness_mean <= found.staleness_worst <= 2
    starved = best(["rl.stream.max_staleness=2"], 2, rates(learner=0.0001))
    assert starved.round_seconds == pytest.approx(80, rel=0.05)
    assert starved.idle_engines == pytest.approx(0, abs=0.05)


def test_the_best_split_gives_gpus_to_the_slower_side():
    slow_learner = best(["rl.stream.max_staleness=2"], 8, rates(learner=0.001))
    slow_engines = best(["rl.stream.max_staleness=2"], 8, rates(learner=0.00005))
    assert slow_learner.ranks > slow_engines.ranks
    assert slow_learner.engines + slow_learner.ranks == 8
    assert slow_learner.unused == 0


def test_large_rounds_are_simulated_in_small_and_come_to_the_same():
    small = best(["rl.stream.max_staleness=1"], 2, rates(learner=0.0003))
    large = best(
        ["rl.stream.max_staleness=1", "rl.groups_per_round=2048", "engine.max_sequences=1024"],
        2,
        rates(learner=0.0003 / 32),
    )
    assert large.round_seconds == pytest.approx(small.round_seconds, rel=0.05)
    assert large.tokens_per_second == pytest.approx(32 * small.tokens_per_second, rel=0.05)


def test_tensor_parallel_engines_leave_what_they_cannot_use():
    recipe = load_recipe("smoke", [*SMALL, "engine.tensor_parallel=4"])
    found = {(each.engine.actors, each.learner.ranks) for each in splits(recipe, 9, None, None)}
    assert found == {(2, 1), (1, 2), (1, 3), (1, 4), (1, 5)}
    with pytest.raises(UserError, match="5 are needed at the least"):
        splits(recipe, 4, None, None)


def test_colocated_engines_and_ranks_share_every_gpu():
    colocated = ["placement.mode=colocated", "publishing.transport=cuda_ipc", "engine.actors=8", "learner.ranks=8"]
    recipe = load_recipe("thor-1.5b", [*colocated, "engine.gpu_memory_utilization=0.5"])
    (split,) = splits(recipe, 8, GPUS["h200"], shape_of(Path("Qwen2.5-Math-1.5B")))
    assert (split.engine.actors, split.learner.ranks) == (8, 8)


def test_a_split_has_to_fit_the_gpus_memory():
    recipe, shape = load_recipe("thor-7b"), shape_of(Path("Qwen2.5-Math-7B"))
    fits = [each.learner.ranks for each in splits(recipe, 16, GPUS["h100"], shape)]
    assert fits
    assert min(fits) > 1, "one rank holds the whole optimizer"
    with pytest.raises(UserError, match="no split of 2 GPUs has room for thor-7b"):
        splits(recipe, 2, GPUS["l40s"], shape)


def test_the_roofline_is_the_data_sheets_by_hand():
    recipe, shape = load_recipe("thor-7b"), shape_of(Path("Qwen2.5-Math-7B"))
    assert shape is not None
    found = roofline(shape, recipe, GPUS["h200"], Lengths((Trajectory(1),), (), ""))
    # 15.2 GB of weights at 2.88 TB/s; 2 * 7.6e9 operations at 494e12, ten times 7.6e9 at 346e12.
    assert found.weight_seconds == pytest.approx(15.2e9 / 2.88e12, rel=0.01)
    assert found.compute_seconds == pytest.approx(15.2e9 / 494e12, rel=0.01)
    assert found.learner_seconds == pytest.approx(76e9 / 346e12, rel=0.01)
    # With few sequences an engine waits for its memory, with many for its arithmetic.
    assert found.step_seconds(1) == pytest.approx(found.weight_seconds, rel=0.01)
    assert found.step_seconds(10_000) == pytest.approx(10_000 * found.compute_seconds)


def test_a_measured_run_survives_its_own_file():
    run = recorded("smoke-1")
    assert measured_from_json(run.to_json()) == run
    assert json.loads(run.to_json())["name"] == "smoke-1"
