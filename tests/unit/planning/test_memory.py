"""Estimates agree with hand calculations, move the right way, and refuse what cannot fit."""

import re
from pathlib import Path

import pytest

from learners.model import MAX_LOGITS
from thor_ray.config import Recipe, load_recipe, recipe_names
from thor_ray.planning import derived_rows, engine_memory, learner_memory, memory_faults_of, shape_of
from thor_ray.planning.memory import GIBIBYTE, LOGITS_HELD, adapter_parameters, shared_memory
from thor_ray.planning.shape import KNOWN_SHAPES

RECIPES_PAGE = Path(__file__).parents[3] / "docs" / "recipes.md"
BY_HAND = re.compile(
    r"^\| `(?P<recipe>[\w.-]+)` \| (?P<role>learner rank|engine cache) \| (?P<gb>[\d.]+) GB \|", re.MULTILINE
)
"""Rows of the page's table of hand calculations."""

SEVEN_BILLION = KNOWN_SHAPES["Qwen2.5-Math-7B"]


def rank(*overrides: str) -> dict[str, int]:
    return learner_memory(SEVEN_BILLION, load_recipe("thor-7b", list(overrides))).parts


def test_estimates_are_near_the_hand_calculations_of_the_page():
    rows = BY_HAND.findall(RECIPES_PAGE.read_text(encoding="utf-8"))
    assert {(recipe, role) for recipe, role, _ in rows} >= {
        (recipe, role) for recipe in ("thor-7b", "thor-1.5b") for role in ("learner rank", "engine cache")
    }
    for name, role, gigabytes in rows:
        recipe = load_recipe(name)
        shape = shape_of(Path(recipe.policy.model))
        assert shape is not None
        if role == "learner rank":
            estimate = learner_memory(shape, recipe).total
        else:
            estimate = engine_memory(shape, recipe).parts["cache"]
        assert estimate / 1e9 == pytest.approx(float(gigabytes), rel=0.15), (name, role)


def test_the_learner_holds_as_many_logits_as_the_estimate_counts():
    assert LOGITS_HELD == MAX_LOGITS


def test_zero_stages_shard_what_they_are_known_for():
    stages = {stage: rank(f"learner.zero_stage={stage}") for stage in (1, 2, 3)}
    count = SEVEN_BILLION.parameters
    assert [stages[stage]["weights"] for stage in (1, 2, 3)] == [2 * count, 2 * count, 2 * count // 8]
    assert [stages[stage]["gradients"] for stage in (1, 2, 3)] == [4 * count, 4 * count // 8, 4 * count // 8]
    assert {stages[stage]["optimizer"] for stage in (1, 2, 3)} == {12 * count // 8}


@pytest.mark.parametrize("overrides", [[], ["learner.zero_stage=3", "learner.offload.optimizer=cpu"]])
def test_on_a_shared_gpu_cache_and_optimizer_are_never_there_at_once(overrides: list[str]):
    shared = ["placement.mode=colocated", "engine.actors=8", "learner.ranks=8", "publishing.transport=cuda_ipc"]
    recipe = load_recipe("thor-7b", ["engine.tensor_parallel=1", *shared, *overrides])
    engine, learner = engine_memory(SEVEN_BILLION, recipe), learner_memory(SEVEN_BILLION, recipe)
    both = shared_memory(SEVEN_BILLION, recipe)
    assert both.sampling.total == engine.total + learner.parts["weights"] + learner.parts["process"] + GIBIBYTE
    assert both.learning.total == learner.total + engine.parts["process"] + GIBIBYTE
    assert both.peak == max(both.sampling.total, both.learning.total) < engine.total + learner.total


def test_more_ranks_offloading_adapters_and_checkpointing_save_memory():
    base = sum(rank().values())
    assert sum(rank("learner.ranks=16").values()) < base
    assert sum(rank("learner.offload.optimizer=cpu").values()) < base
    assert sum(rank("learner.lora.rank=8").values()) < base
    assert sum(rank("learner.gradient_checkpointing=false").values()) > base
    assert sum(rank("learner.micro_batch_tokens=98304").values()) > base
    assert sum(rank("rl.objective.kl_weight=0.1").values()) - base == 2 * SEVEN_BILLION.parameters


def test_adapters_of_named_layers_alone_are_counted():
    learner = load_recipe("thor-7b", ["learner.lora.rank=4", "learner.lora.layers=[q_proj]"]).learner
    assert learner.lora is not None
    assert adapter_parameters(SEVEN_BILLION, learner.lora) == 28 * 4 * (3584 + 3584)


def test_an_engines_cache_takes_what_its_share_of_the_gpu_leaves():
    recipe = load_recipe("thor-7b")
    memory = engine_memory(SEVEN_BILLION, recipe)
    assert memory.dominant == "cache"
    assert memory.total - memory.parts["process"] == pytest.approx(0.8 * 139 * GIBIBYTE, rel=1e-6)
    assert memory.cache_tokens == memory.parts["cache"] // (2 * 28 * 4 * 128 * 2)
    split = engine_memory(SEVEN_BILLION, load_recipe("thor-7b", ["engine.tensor_parallel=2"]))
    assert split.parts["weights"] == memory.parts["weights"] // 2
    assert split.cache_tokens > 2 * memory.cache_tokens


def test_tensor_parallelism_beyond_the_key_heads_repeats_them():
    tokens = [
        engine_memory(SEVEN_BILLION, load_recipe("thor-7b", [f"engine.tensor_parallel={degree}"])).cache_tokens
        for degree in (4, 8)
    ]
    assert tokens[1] < 1.1 * tokens[0]


def test_a_recipe_for_cpus_is_refused_nothing():
    assert list(memory_faults_of(Recipe(), Path("tiny"))) == []


@pytest.mark.parametrize(
    ("overrides", "message", "remedy"),
    [
        (["placement.gpu_memory_gib=40"], "a learner rank needs about", "lower learner.micro_batch_tokens"),
        (["learner.gradient_checkpointing=false"], "activations", "gradient_checkpointing: true"),
        (["learner.ranks=1"], "optimizer", "raise learner.ranks or learner.zero_stage"),
        (
            ["learner.ranks=1", "learner.zero_stage=3", "placement.gpu_memory_gib=100"],
            "optimizer",
            "offload.optimizer: cpu",
        ),
        (["engine.gpu_memory_utilization=0.1"], "key-value cache would hold 0 tokens", "gpu_memory_utilization"),
    ],
)
def test_what_cannot_fit_its_gpu_is_refused_with_its_largest_part(overrides, message, remedy):
    recipe = load_recipe("thor-7b", overrides)
    faults = list(memory_faults_of(recipe, Path(recipe.policy.model)))
    assert any(message in fault.message and remedy in fault.remedy for fault in faults), faults


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_fits_the_gpus_it_names(name):
    recipe = load_recipe(name)
    model = Path(recipe.policy.model)
    assert list(memory_faults_of(recipe, model)) == []
    assert recipe.policy.model == "tiny" or shape_of(model) is not None


def test_the_derived_table_multiplies_out():
    recipe = load_recipe("thor-7b")
    rows = derived_rows(recipe, Path(recipe.policy.model))
    assert rows["prompts per round"] == "5120"
    assert rows["sequences per round"] == "81920, and up to 81920 of steps"
    assert rows["updates per round"] == "40, of 128 prompts and 2048 episodes each"
    assert rows["rounds"] == "20, 800 updates in all"
    assert rows["tokens per micro-batch"] == "49152 on each rank, 12 of the longest sequences"
    assert rows["engines × TP"] == "8 × 1, 512 sequences at once each"
    assert rows["GPUs"] == "8 + 8 = 16, of 139 GiB"
    assert "most of it activations" in rows["memory of a rank"]
    assert "most of it cache" in rows["memory of an engine"]


def test_without_step_level_no_steps_are_counted():
    rows = derived_rows(load_recipe("thor-7b", ["rl.step_level=false"]), Path("models/unheard-of"))
    assert rows["sequences per round"] == "81920"
    assert rows["memory"].startswith("not estimated: models/unheard-of has no config.json")
