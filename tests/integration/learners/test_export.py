"""``thor export``: what a run has learnt so far, as a directory that transformers and vLLM load."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from learners.group import LearnerGroup
from learners.sequences import TrainingSequence
from thor_ray.cli.app import main
from thor_ray.config import OptimizerConfig, PolicyConfig, Recipe
from thor_ray.records import Stage
from thor_ray.runlog import RunLog
from thor_ray.stages.resumption import StageCheckpoints

MakeSequences = Callable[..., list[TrainingSequence]]


@pytest.fixture
def stopped(learner: LearnerGroup, policy: Path, make_sequences: MakeSequences, tmp_path: Path) -> tuple[Path, Path]:
    """A run that was stopped in the middle of its RL, and what its learner held at the newest checkpoint."""
    recipe = Recipe(name="r", policy=PolicyConfig(model=str(policy)))
    path, held = tmp_path / "run", tmp_path / "held"
    with contextlib.suppress(KeyboardInterrupt), RunLog.create(path, recipe, "train") as log, log.stage(Stage.RL):
        learner.begin_sft(OptimizerConfig(learning_rate=1e-2), 3)
        checkpoints = StageCheckpoints(log, Stage.RL, recipe.learner)
        for done in (1, 2):
            learner.sft(make_sequences(3, seed=done))
            checkpoints.take(learner, done, done)
        learner.export(held)
        learner.sft(make_sequences(3))
        raise KeyboardInterrupt
    return path, held


def thor(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["export", *arguments])
    return int(ended.value.code or 0)


@ray.remote(num_cpus=1)
def log_probs_of_vllm(model: str, sequences: list[list[int]]) -> list[list[float]]:
    """What an engine that was started on a directory makes of sequences."""
    import asyncio

    from actors.engine import EngineSettings, VllmEngine

    engine = VllmEngine(EngineSettings(model, max_context=128, kv_cache_mib=64))
    found = asyncio.run(engine.probe_log_probs(sequences))
    engine.close()
    return found


def log_probs_of_transformers(model: Path, sequences: list[list[int]]) -> list[list[float]]:
    policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        rows = [policy(torch.tensor([ids])).logits[0, :-1].log_softmax(-1) for ids in sequences]
    return [
        row.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist() for row, ids in zip(rows, sequences, strict=True)
    ]


def test_a_stopped_run_gives_the_weights_of_its_newest_checkpoint(stopped, learner, policy, capsys):
    path, held = stopped
    assert thor(str(path)) == 0
    assert f"weights {learner.version}, from checkpoint step-00000002" in capsys.readouterr().out
    models = [AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32) for place in (path / "export", held)]
    for (name, found), (_, expected) in zip(*(model.named_parameters() for model in models), strict=True):
        assert torch.equal(found, expected), name
    tokenizer = AutoTokenizer.from_pretrained(path / "export")
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(policy).get_vocab()
    assert json.loads((path / "export/thor_prompt.json").read_text())["template"] == "bare"


@pytest.mark.slow
def test_vllm_serves_what_was_exported(stopped, policy):
    path, _ = stopped
    assert thor(str(path)) == 0
    sequences = [[5, 17, 40, 3, 28, 9, 33, 51], [12, 12, 44, 7, 60, 2]]
    served = ray.get(log_probs_of_vllm.remote(str(path / "export"), sequences), timeout=240)
    learnt, begun_with = (log_probs_of_transformers(model, sequences) for model in (path / "export", policy))
    for found, expected, before in zip(served, learnt, begun_with, strict=True):
        assert found == pytest.approx(expected, abs=1e-4)
        assert found != pytest.approx(before, abs=1e-2), "as before anything was learnt"


def test_a_finished_stage_gives_its_model(stopped, tmp_path, capsys):
    path, held = stopped
    with RunLog.resume(path) as log, log.stage(Stage.RL) as result:
        held.rename(log.checkpoints / Stage.RL)
        result["weight_version"] = 7
    assert thor(str(path), "--output", str(tmp_path / "out")) == 0
    assert "weights 7, from the finished stage rl" in capsys.readouterr().out
    assert (tmp_path / "out/model.safetensors").read_bytes() == (path / "checkpoints/rl/model.safetensors").read_bytes()


def test_nothing_is_destroyed_unasked(stopped, tmp_path, capsys):
    path, held = stopped
    assert thor(str(path), "--output", str(held)) == 2
    assert "is there already" in capsys.readouterr().err
    (tmp_path / "thesis").mkdir()
    assert thor(str(path), "--output", str(tmp_path / "thesis"), "--overwrite") == 2
    assert "is no model" in capsys.readouterr().err
    assert thor(str(path), "--output", str(held), "--overwrite") == 0


def test_damage_is_reported_with_the_file(stopped, capsys):
    path, _ = stopped
    for shard in (path / "checkpoints/learner/rl").glob("*/engine/*optim*"):
        shard.write_bytes(shard.read_bytes()[:-1])
    assert thor(str(path)) == 2
    assert "no checkpoint can be gone on from" in capsys.readouterr().err


def test_a_run_that_has_learnt_nothing_has_nothing_to_export(tmp_path, capsys):
    with RunLog.create(tmp_path / "run", Recipe(name="r"), "train"):
        pass
    assert thor(str(tmp_path / "run")) == 2
    assert "learnt nothing yet" in capsys.readouterr().err
