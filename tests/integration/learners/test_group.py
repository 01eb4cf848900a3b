"""A learner group learns, stands still, remembers and forgets as it should."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import ray
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.family_tokens import StoredTokens
from learners.checkpoint import CheckpointError
from learners.exporting import export_checkpoint
from learners.group import LearnerGroup
from learners.guards import NonFiniteUpdateError
from learners.kept_log_probs import KeptLogProbs
from learners.sequences import SampledSequence, TrainingSequence
from thor_ray.config import LearnerConfig, ObjectiveConfig, OptimizerConfig
from thor_ray.trajectory import NO_VERSION, PackedTokens, Tokens

MakeSequences = Callable[..., list[TrainingSequence]]

FAST = OptimizerConfig(learning_rate=3e-3)


def weights(learner: LearnerGroup, path: Path) -> dict[str, torch.Tensor]:
    learner.export(path)
    return dict(AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).named_parameters())


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_supervised_learning_lowers_the_loss(learner: LearnerGroup, make_sequences: MakeSequences):
    sequences = make_sequences(8)
    learner.begin_sft(FAST, 20)
    losses = [learner.sft(sequences)["loss"] for _ in range(20)]
    assert losses[-1] < losses[0] / 2
    assert learner.updates == 20


def test_the_supervised_loss_is_the_mean_over_tokens_in_the_mask(learner: LearnerGroup, make_sequences: MakeSequences):
    sequences = make_sequences(9, seed=1)
    learner.begin_sft(OptimizerConfig(learning_rate=0), 1)
    log_probs = np.concatenate(
        [row[one.loss_mask] for row, one in zip(learner.log_probs(sequences), sequences, strict=True)]
    )
    metrics = learner.sft(sequences)
    assert metrics["loss"] == pytest.approx(-log_probs.mean(), rel=1e-5)
    assert metrics["tokens"] == len(log_probs)


def test_reinforcement_makes_good_tokens_likelier_and_bad_ones_rarer(
    learner: LearnerGroup, make_sequences: MakeSequences
):
    learner.begin_rl(ObjectiveConfig(), OptimizerConfig(learning_rate=3e-4), 4)
    signed = [replace(one, advantage=1.0 if index % 2 else -1.0) for index, one in enumerate(make_sequences(6, seed=2))]
    sequences = learner.with_proximal_log_probs(signed)
    first = learner.update(sequences)
    assert (first["ratio_min"], first["ratio_max"]) == pytest.approx((1, 1), abs=1e-5)
    assert first["clip_fraction"] == 0
    assert first["episode_tokens"] + first["step_tokens"] == first["tokens"]
    for sequence, before, after in zip(
        sequences, [one.proximal_log_probs for one in sequences], learner.log_probs(sequences), strict=True
    ):
        assert before is not None
        assert (after.sum() - before.sum()) * sequence.advantage > 0


def test_tokens_in_the_object_store_are_read_by_ranks_alone(
    learner: LearnerGroup, make_sequences: MakeSequences, monkeypatch: pytest.MonkeyPatch
):
    """The same updates as from tokens that are handed over, and the same figures of the mismatch."""
    here = make_sequences(9, seed=7)
    packed = PackedTokens.of([tokens_of(one) for one in here])
    reference = ray.put(packed)
    stored = [
        SampledSequence(
            StoredTokens(index, len(one), {0: one.loss_tokens}, reference),
            runs_of(one.loss_mask),
            *(one.advantage, one.level, one.group_uid, one.oldest_version),
        )
        for index, one in enumerate(here)
    ]
    found = []
    for sequences in (here, stored):
        learner.begin_rl(ObjectiveConfig(kl_weight=0.1), OptimizerConfig(learning_rate=0), 2)
        with monkeypatch.context() as patched:
            for kind in (StoredTokens, KeptLogProbs) if sequences is stored else ():
                patched.setattr(kind, "load", refuse)
            attached = learner.with_proximal_log_probs(sequences)
            figures = learner.update(attached) | learner.mismatch(attached)
        found.append({name: value for name, value in figures.items() if "second" not in name})
    assert found[0] == found[1]
    assert found[0]["mismatch_abs/lag_0"] > 0


def refuse(lazy: object) -> None:
    raise AssertionError(f"the driver reads {lazy}")


def tokens_of(sequence: TrainingSequence) -> Tokens:
    versions = np.where(sequence.loss_mask, 0, NO_VERSION).astype(np.int32)
    return Tokens(tuple(sequence.ids.tolist()), sequence.behaviour_log_probs, versions)


def runs_of(mask: npt.NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    borders = np.flatnonzero(np.diff(mask, prepend=False, append=False)).tolist()
    return tuple(zip(borders[::2], borders[1::2], strict=True))


def test_kl_and_entropy_reach_the_loss(learner: LearnerGroup, make_sequences: MakeSequences):
    learner.begin_rl(ObjectiveConfig(kl_weight=0.5, entropy_weight=0.1), FAST, 4)
    sequences = learner.with_proximal_log_probs(make_sequences(6, seed=2))
    first, second = (learner.update(sequences) for _ in range(2))
    # The reference is the policy itself before the first update.
    assert first["reference_kl"] == pytest.approx(0, abs=1e-6)
    assert second["reference_kl"] > 1e-3
    assert 0 < first["entropy"] < np.log(400)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.2])
def test_the_first_ratio_is_one_at_every_temperature(
    learner: LearnerGroup, policy: Path, make_sequences: MakeSequences, temperature: float
):
    """Behaviour log-probs from plain transformers with the same weights stand for an engine that agrees."""
    learner.begin_rl(ObjectiveConfig(), OptimizerConfig(learning_rate=0), 1, temperature)
    model_path = policy.parent / f"ratio-{temperature}"
    learner.export(model_path)
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    sequences = []
    for one in make_sequences(5, seed=3):
        with torch.no_grad():
            logits = model(torch.tensor(one.ids)[None]).logits[0, :-1] / temperature
        chosen = torch.log_softmax(logits, -1).gather(-1, torch.tensor(one.ids)[1:, None]).squeeze(-1)
        behaviour = np.where(one.loss_mask, np.concatenate([[0.0], chosen.numpy()]), 0).astype(np.float32)
        sequences.append(TrainingSequence(one.ids, one.loss_mask, behaviour, one.advantage, one.level, one.group_uid))
    metrics = learner.update(sequences)
    assert metrics["ratio_max"] == pytest.approx(1, abs=1e-5)
    assert metrics["ratio_min"] == pytest.approx(1, abs=1e-5)
    assert metrics["mismatch_max_abs"] < 1e-5


def test_learning_rate_zero_leaves_every_bit_in_place(
    learner: LearnerGroup, make_sequences: MakeSequences, tmp_path: Path
):
    still = OptimizerConfig(learning_rate=0, weight_decay=0.1)
    learner.begin_rl(ObjectiveConfig(), still, 5)
    before = weights(learner, tmp_path / "before")
    sequences = make_sequences(7, seed=4)
    losses = {learner.update(sequences)["loss"] for _ in range(5)}
    assert len(losses) == 1
    assert_same(before, weights(learner, tmp_path / "after"))


def test_masked_tokens_teach_nothing(learner: LearnerGroup, make_sequences: MakeSequences):
    """What stands at masked-out positions at the end, after which nothing is predicted, leaves no trace."""
    learner.begin_sft(OptimizerConfig(learning_rate=0), 2)
    (one,) = make_sequences(1, seed=5)
    mask = one.loss_mask.copy()
    mask[-4:] = False
    norms = []
    for last in (7, 11):
        ids = one.ids.copy()
        ids[-4:] = last
        norms.append(
            learner.sft([TrainingSequence(ids, mask, one.behaviour_log_probs, 0.0, one.level, "g")])["grad_norm"]
        )
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)


def train(learner: LearnerGroup, make_sequences: MakeSequences, first: int, last: int) -> list[float]:
    return [learner.update(make_sequences(6, seed=seed))["loss"] for seed in range(first, last)]


def test_a_checkpoint_goes_on_exactly_where_it_was_taken(
    learner: LearnerGroup, make_sequences: MakeSequences, tmp_path: Path
):
    schedule = OptimizerConfig(learning_rate=1e-3, schedule="linear", warmup_updates=2)
    learner.begin_rl(ObjectiveConfig(), schedule, 8)
    train(learner, make_sequences, 0, 4)
    learner.save(tmp_path / "checkpoint", {"rounds": 2})
    trained = learner.trained_groups
    expected = train(learner, make_sequences, 4, 8)
    expected_weights = weights(learner, tmp_path / "expected")

    learner.begin_rl(ObjectiveConfig(), schedule, 8)
    assert learner.load(tmp_path / "checkpoint") == {"rounds": 2}
    assert learner.updates == 4
    assert learner.trained_groups == trained == {"g0", "g1"}
    assert train(learner, make_sequences, 4, 8) == expected
    assert_same(expected_weights, weights(learner, tmp_path / "resumed"))


def test_saving_again_replaces_the_checkpoint_and_leaves_nothing_else(learner: LearnerGroup, tmp_path: Path):
    learner.begin_sft(FAST, 1)
    for _ in range(2):
        learner.save(tmp_path / "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_what_is_no_checkpoint_is_refused(learner: LearnerGroup, tmp_path: Path):
    learner.begin_sft(FAST, 1)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        learner.load(tmp_path)


def test_a_checkpoint_of_other_settings_or_with_a_flipped_bit_is_refused(learner: LearnerGroup, tmp_path: Path):
    learner.begin_sft(FAST, 1)
    learner.save(tmp_path / "checkpoint")
    learner.begin_sft(FAST, 2)
    with pytest.raises(CheckpointError, match="another objective, optimizer, schedule"):
        learner.load(tmp_path / "checkpoint")
    learner.begin_sft(FAST, 1)
    shard = max((tmp_path / "checkpoint" / "engine").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{shard.name} have changed"):
        learner.load(tmp_path / "checkpoint")


def test_an_export_of_a_checkpoint_is_an_export_of_the_learner(
    learner: LearnerGroup, policy: Path, make_sequences: MakeSequences, tmp_path: Path
):
    learner.begin_sft(FAST, 2)
    learner.sft(make_sequences(4))
    learner.save(tmp_path / "checkpoint")
    export_checkpoint(tmp_path / "checkpoint", policy, tmp_path / "export")
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "export", dtype=torch.float32)
    assert_same(weights(learner, tmp_path / "held"), dict(exported.named_parameters()))


def test_the_same_seed_gives_the_same_losses(learner: LearnerGroup, make_sequences: MakeSequences, tmp_path: Path):
    histories = []
    learner.begin_rl(ObjectiveConfig(), FAST, 4)
    learner.save(tmp_path / "start")
    for _ in range(2):
        learner.begin_rl(ObjectiveConfig(), FAST, 4)
        learner.load(tmp_path / "start")
        histories.append(train(learner, make_sequences, 10, 13))
    assert histories[0] == histories[1]


def test_an_export_is_a_model_directory_with_its_tokenizer(
    learner: LearnerGroup, policy: Path, make_sequences: MakeSequences, tmp_path: Path
):
    learner.begin_sft(FAST, 1)
    learner.sft(make_sequences(4))
    learner.export(tmp_path / "export")
    exported = AutoTokenizer.from_pretrained(tmp_path / "export")
    assert exported.get_vocab() == AutoTokenizer.from_pretrained(policy).get_vocab()
    (one,) = make_sequences(1, seed=6)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "export", dtype=torch.float32)
    with torch.no_grad():
        logits = model(torch.tensor(one.ids)[None]).logits[0, :-1]
    chosen = torch.log_softmax(logits, -1).gather(-1, torch.tensor(one.ids)[1:, None]).squeeze(-1).numpy()
    (ours,) = learner.log_probs([one])
    np.testing.assert_allclose(ours[one.loss_mask], chosen[one.loss_mask[1:]], atol=1e-5)


def broken(one: TrainingSequence, uid: str) -> TrainingSequence:
    """Its loss and gradient are not finite."""
    return replace(one, advantage=float("nan"), group_uid=uid)


def test_a_loss_that_is_not_finite_costs_its_update_and_names_the_group(
    learner: LearnerGroup, make_sequences: MakeSequences, tmp_path: Path
):
    learner.begin_rl(ObjectiveConfig(), FAST, 9)
    sane = make_sequences(6)
    learner.update(sane)
    before = weights(learner, tmp_path / "before")
    metrics = learner.update([*sane, broken(sane[3], "bad-group")])
    assert metrics["skipped"] == 1
    assert not np.isfinite(metrics["loss"])
    assert learner.updates == 1
    assert [skipped.suspects for skipped in learner.skipped] == [("bad-group",)]
    assert learner.trained_groups == {one.group_uid for one in sane}
    assert_same(before, weights(learner, tmp_path / "after"))
    # Nothing of it is left in the next update.
    assert learner.update(sane)["skipped"] == 0
    assert learner.skipped == ()


def test_too_many_such_losses_in_a_row_stop_the_run(learner: LearnerGroup, make_sequences: MakeSequences):
    learner.begin_rl(ObjectiveConfig(), OptimizerConfig(learning_rate=0), 1)
    (one,) = make_sequences(1)
    limit = learner.config.max_skipped_updates
    for index in range(limit - 1):
        learner.update([broken(one, f"bad-{index}")])
    with pytest.raises(
        NonFiniteUpdateError, match=f"{limit} updates in a row could not be made: .*bad-0.*bad-1.*bad-2"
    ):
        learner.update([broken(one, f"bad-{limit - 1}")])


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.exhaustive)])
def test_pairs_of_ranks_that_share_sequences_learn_what_single_ranks_do(
    learner: LearnerGroup, make_sequences: MakeSequences, tmp_path: Path, ranks: int
):
    """Each sequence counts once: the same losses, statistics and weights."""
    learner.begin_sft(FAST, 1)
    learner.export(tmp_path / "start")
    shape = learner.config.model_copy(update={"ranks": ranks, "sequence_parallel": 2, "zero_stage": 2})
    with LearnerGroup(tmp_path / "start", shape) as pairs:
        histories = []
        for group in (learner, pairs):
            group.begin_sft(FAST, 1)
            history = [group.sft(make_sequences(7))]
            group.begin_rl(ObjectiveConfig(), FAST, 2)
            sequences = group.with_proximal_log_probs(make_sequences(8, seed=1))
            history += [group.update(sequences) for _ in range(2)]
            history.append(group.update([broken(sequences[0], "bad-group"), *sequences[1:]]))
            assert [skipped.suspects for skipped in group.skipped] == [("bad-group",)]
            histories.append(history)
        for found, expected in zip(histories[1], histories[0], strict=True):
            timing = {"seconds", "tokens_per_second", "padding"}
            comparable = {name: value for name, value in expected.items() if name not in timing}
            # Each update lets rounding errors grow; a sequence counted twice or left out would show in the first digits.
            assert {name: found[name] for name in comparable} == pytest.approx(
                comparable, rel=1e-3, abs=1e-6, nan_ok=True
            )
        left, right = (weights(group, tmp_path / f"end-{group.config.sequence_parallel}") for group in (learner, pairs))
        start = dict(AutoModelForCausalLM.from_pretrained(tmp_path / "start", dtype=torch.float32).named_parameters())
        apart, moved = (
            torch.nn.utils.get_total_norm([weight - others[name] for name, weight in left.items()])
            for others in (right, start)
        )
        # Not each weight alone: where a gradient is next to nothing, AdamW makes a whole step of its rounding error.
        assert apart < 0.01 * moved


def test_bfloat16_without_zero_is_refused_before_anything_starts(policy: Path):
    with pytest.raises(ValueError, match="use stage 1"):
        LearnerGroup(policy, LearnerConfig(zero_stage=0), "bfloat16")
