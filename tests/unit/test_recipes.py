"""Shipped recipes: what they say, how one extends another, and that each can be dry-run on stand-ins."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from actors.layout import Node
from thor_ray.config import RecipeError, load_recipe, recipe_names
from thor_ray.config.loading import RECIPES, merge
from thor_ray.errors import PreflightError
from thor_ray.planning import derived_rows, memory_faults_of
from thor_ray.preflight import require
from thor_ray.stages import dry_run
from thor_ray.stages.plan import SFT, SMOKE, TRAIN, make_plan
from thor_ray.tiny import base_model_path

PAPER = {"thor-1.5b", "thor-7b", "thor-thinking-1.7b", "thor-thinking-8b"}
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


def write(path: Path, tree: object) -> str:
    path.write_text(yaml.safe_dump(tree))
    return str(path)


def test_the_papers_models_and_the_releases_variants_are_shipped():
    assert set(recipe_names()) >= {"smoke"} | PAPER | {f"{name}-release" for name in PAPER}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_says_hardware_and_what_it_is_for(name):
    head = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").split("name:")[0]
    if name in PAPER or name.endswith("-release"):
        for word in ("Reproduces", "Hardware", "Not run"):
            assert word in head
    else:
        assert "Expects" in head


@pytest.mark.parametrize("name", sorted(PAPER))
def test_hyper_parameters_are_the_papers(name):
    recipe = load_recipe(name)
    thinking = "thinking" in name
    rl, objective = recipe.rl, recipe.rl.objective
    assert recipe.policy.max_context == (16384 if thinking else 4096)
    assert (rl.suffix_tokens, recipe.evaluation.correction.suffix_tokens) == ((500, 500) if thinking else (100, 100))
    assert recipe.tirgen.step_tokens == (4096 if thinking else 512)
    assert (rl.group_size, rl.updates_per_round, rl.groups_per_round / rl.updates_per_round) == (16, 40, 128)
    assert (objective.clip_low, objective.clip_high, objective.dual_clip) == (0.2, 0.28, None)
    assert (objective.nll_weight, objective.kl_weight, objective.aggregation) == (0.01, 0, "sequence_mean")
    assert (rl.optimizer.learning_rate, rl.sampling.max_rounds, rl.sampling.temperature) == (1e-6, 5, 1)
    start = recipe.cold_start
    assert (start.epochs, start.batch_size, start.optimizer.learning_rate) == (1, 256, 2e-6)
    asked = recipe.evaluation
    assert (asked.sampling.temperature, asked.sampling.top_k, asked.samples(), asked.correction.attempts) == (
        0.6,
        50,
        4,
        4,
    )


@pytest.mark.parametrize("name", sorted(PAPER))
def test_the_releases_variant_has_the_releases_loss_and_filters(name):
    paper, release = load_recipe(name), load_recipe(f"{name}-release")
    objective, filters = release.rl.objective, release.rl.filters
    assert (objective.aggregation, objective.dual_clip, objective.mixed_batch) == ("token_mean", 3, True)
    assert (filters.min_response_tokens, filters.boxed_tail_tokens, filters.min_survivors) == (151, 100, 0.5)
    assert release.rl.stop_at_failed_code
    assert release.policy.model == paper.policy.model
    assert (release.learner, release.engine, release.placement) == (paper.learner, paper.engine, paper.placement)
    if "thinking" in name:
        assert (release.cold_start.epochs, release.cold_start.batch_size) == (3, 128)


def test_a_recipe_extends_a_shipped_one_and_one_beside_it(tmp_path):
    write(
        tmp_path / "base.yaml",
        {"extends": "smoke", "name": "base", "rl": {"group_size": 4, "sampling": {"max_rounds": 3}}},
    )
    top = write(tmp_path / "top.yaml", {"extends": "base.yaml", "name": "top", "rl": {"rounds": 7}})
    smoke, recipe = load_recipe("smoke"), load_recipe(top, ["seed=9"])
    assert (recipe.name, recipe.seed, recipe.rl.rounds, recipe.rl.group_size, recipe.rl.sampling.max_rounds) == (
        "top",
        9,
        7,
        4,
        3,
    )
    assert recipe.rl.sampling.max_new_tokens == smoke.rl.sampling.max_new_tokens
    assert recipe.problems == smoke.problems


def test_values_that_are_no_sections_are_replaced_whole(tmp_path):
    families = {"problems": {"train": {"families": {"gcd": 1}}}}
    assert load_recipe(write(tmp_path / "r.yaml", {"extends": "smoke", **families})).problems.train.families == {
        "gcd": 1
    }
    lora = write(tmp_path / "lora.yaml", {"learner": {"lora": {"rank": 8, "alpha": 4}}})
    less = load_recipe(write(tmp_path / "less.yaml", {"extends": lora, "learner": {"lora": {"rank": 2}}}))
    assert less.learner.lora is not None
    assert (less.learner.lora.rank, less.learner.lora.alpha) == (2, 4)
    none = load_recipe(write(tmp_path / "none.yaml", {"extends": lora, "learner": {"lora": None}}))
    assert none.learner.lora is None


@pytest.mark.parametrize(
    ("trees", "message"),
    [
        ([{"extends": "one.yaml"}, {"extends": "zero.yaml"}], "recipes that extend one another: .*zero.*one.*zero"),
        ([{"extends": "zero.yaml"}], "extend one another"),
        ([{"extends": ["smoke"]}], "extends names one recipe, not"),
        ([{"extends": "smok"}], "no recipe 'smok'.*did you mean 'smoke'"),
        ([{"learner": {"lora": {"rnak": 3}}}], "learner.lora.rnak: no such field; did you mean 'rank'"),
        ([{"placement": {"gpu_memory": 80}}], "did you mean 'gpu_memory_gib'"),
    ],
)
def test_a_recipe_that_extends_nothing_sensible_is_refused(tmp_path, trees, message):
    for name, tree in zip(("zero", "one"), trees, strict=False):
        write(tmp_path / f"{name}.yaml", tree)
    with pytest.raises(RecipeError, match=message):
        load_recipe(str(tmp_path / "zero.yaml"))


sections = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 9),
        "rl": st.fixed_dictionaries({}, optional={"rounds": st.integers(0, 9), "group_size": st.integers(2, 9)}),
        "tirgen": st.fixed_dictionaries(
            {}, optional={"keep_by_calls": st.dictionaries(st.integers(1, 3), st.just(0.5))}
        ),
    },
)


@given(sections, sections, sections)
def test_merging_is_associative_and_the_last_word_counts(first, second, third):
    assert merge(merge(first, second), third) == merge(first, merge(second, third))
    assert merge(first, first) == first
    assert merge(first, {}) == merge({}, first) == first


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that put the tiny model, which gets a chat template and a longer context, and a few problems in place."""
    place = tmp_path_factory.mktemp("stand_ins")
    model = Path(shutil.copytree(base_model_path(), place / "model", ignore=shutil.ignore_patterns("prompt*")))
    for name, changes in (
        ("config.json", {"max_position_embeddings": 16384}),
        ("tokenizer_config.json", {"chat_template": CHAT}),
    ):
        file = model / name
        os.chmod(file, 0o644)  # noqa: PTH101 - copied from a package that may be read-only
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    for split in ("train", "heldout"):
        rows = [
            {"problem": f"{split}: what is {number} + {number}?", "answer": str(2 * number)} for number in range(20)
        ]
        (place / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return [
        f"policy.model={model}",
        f"problems.train.file={place / 'train.jsonl'}",
        f"problems.heldout.file={place / 'heldout.jsonl'}",
        f"problems.decontamination.against=[{place / 'heldout.jsonl'}]",
    ]


@pytest.mark.parametrize("name", sorted(PAPER) + sorted(f"{name}-release" for name in PAPER))
def test_every_recipe_dry_runs_with_stand_ins(name, stand_ins):
    recipe = load_recipe(name, stand_ins)
    plan = make_plan(recipe, TRAIN)
    assert len(plan.problems.train) == len(plan.problems.heldout) == 20
    gpus = recipe.engine.actors * recipe.engine.tensor_parallel + recipe.learner.ranks
    nodes = [Node(f"n{index}", cpus=32, gpus=8) for index in range(gpus // 8)]
    require(dry_run.room_faults(plan, nodes))
    with pytest.raises(PreflightError, match=r"the cluster has 1 node of 4 GPUs and 32 CPUs; no room for"):
        require(dry_run.room_faults(plan, [Node("n", cpus=32, gpus=4)]))
    with pytest.raises(PreflightError, match="made for GPUs, and the cluster has none: 1 node of 2 CPUs"):
        require(dry_run.room_faults(plan, [Node("n", cpus=2)]))


def test_the_smoke_dry_runs_as_it_is(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(dry_run, "existing_cluster", lambda: None)
    plan = make_plan(load_recipe("smoke", ["problems.train.count=40", "problems.heldout.count=8"]), SMOKE)
    console = Console(record=True, width=200)
    dry_run.check_cluster(plan, console)
    assert "cluster: one of our own on this machine, 1 node of" in console.export_text()


def test_a_dry_run_asks_the_cluster_that_the_run_would_join(monkeypatch, stand_ins):
    monkeypatch.setattr(dry_run, "existing_cluster", lambda: "10.0.0.1:6379")
    monkeypatch.setattr(dry_run, "nodes_at", lambda address: [Node(address, cpus=8, gpus=4)])
    plan = make_plan(load_recipe("thor-1.5b", stand_ins), TRAIN)
    console = Console(record=True, width=200)
    with pytest.raises(PreflightError, match=r"4 engines .1 GPU each on one node. and 4 learner ranks need 8 GPUs"):
        dry_run.check_cluster(plan, console)
    assert "cluster: 10.0.0.1:6379, 1 node of 4 GPUs and 8 CPUs" in console.export_text()


def test_a_model_that_reads_less_than_the_context_is_refused(stand_ins):
    recipe = load_recipe("thor-7b", [*stand_ins, f"policy.model={base_model_path()}"])
    with pytest.raises(PreflightError, match=r"max_context is 4096, but .* knows 2048 positions"):
        make_plan(recipe, SFT)


PAIRS = ["placement.mode=colocated", "engine.actors=8", "learner.ranks=8", "publishing.transport=cuda_ipc"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["engine.actors=4", "engine.tensor_parallel=2"], "engine.tensor_parallel must be 1, not 2"),
        (["engine.actors=4"], "engine.actors 4 equal learner.ranks 8"),
        (["publishing.transport=auto"], "set publishing.transport: cuda_ipc"),
        (
            ["rl.stream.max_staleness=2"],
            "max_staleness: 2 lets them sample meanwhile: set it to 0, or rl.stream.over_sample",
        ),
        (["learner.zero_stage=1"], "learner.zero_stage: 2, not 1: choose 2, or .* learner.offload.optimizer: cpu"),
        (["learner.zero_stage=3"], "learner.zero_stage: 2, not 3"),
    ],
)
def test_gpus_are_shared_in_pairs_or_not_at_all(overrides, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("thor-1.5b", PAIRS + overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["rl.stream.max_staleness=1", "rl.stream.over_sample=1.5"],
        ["learner.zero_stage=1", "learner.offload.optimizer=cpu"],
        ["learner.zero_stage=3", "learner.offload.optimizer=cpu", "learner.offload.parameters=cpu"],
    ],
)
def test_gpus_are_shared_where_engines_rest_and_the_optimizer_is_not_in_the_way(overrides):
    assert load_recipe("thor-1.5b", PAIRS + overrides).placement.mode == "colocated"


def test_engines_with_gpus_of_their_own_may_run_ahead_of_any_learner():
    recipe = load_recipe("thor-1.5b", ["rl.stream.max_staleness=2", "learner.zero_stage=3"])
    assert recipe.rl.stream.max_staleness == 2


def test_both_of_a_pair_have_to_fit_one_gpu_each_in_its_turn():
    recipe = load_recipe("thor-1.5b", PAIRS)
    model = Path(recipe.policy.model)
    assert list(memory_faults_of(recipe, model)) == []
    rows = derived_rows(recipe, model)
    assert rows["GPUs"] == "8, shared, of 79 GiB"
    # An engine of 63.2 and 2 GiB, a rank's weights of 2.9 and process of 2 GiB, and two buckets of half a GiB.
    assert rows["memory of a GPU"] == "71.1 GiB while engines sample, 22.5 GiB while the learner works"
    (fault,) = memory_faults_of(load_recipe("thor-1.5b", [*PAIRS, "engine.gpu_memory_utilization=0.95"]), model)
    assert "needs about 82.9 GiB of each GPU of 79 GiB while engines sample" in fault.message
    assert "lower engine.gpu_memory_utilization" in fault.remedy
    (fault,) = memory_faults_of(load_recipe("thor-1.5b", [*PAIRS, "learner.micro_batch_tokens=400000"]), model)
    assert "while the learner works" in fault.message
    assert "lower learner.micro_batch_tokens" in fault.remedy
