"""Families that are taken apart into an outline and tokens are the same once they are put together."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.family_tokens import StoredTokens, apart, join, leave, part
from actors.generation import EngineError
from actors.stream import arrival
from thor_ray.trajectory import (
    FinishReason,
    Group,
    GroupKind,
    PackedTokens,
    SpanKind,
    Tokens,
    Trajectory,
    TrajectoryBuilder,
)

runs = st.lists(st.tuples(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=6), st.integers(0, 3)), max_size=4)
families = st.lists(st.lists(runs, min_size=1, max_size=3), min_size=1, max_size=3)


def trajectory(name: str, sampled: list[tuple[list[int], int]]) -> Trajectory:
    builder = TrajectoryBuilder(name, "p", [1, 2])
    for ids, version in sampled:
        builder.append_sampled(SpanKind.THOUGHT, ids, [-0.5 - each % 7 for each in ids], version)
    return builder.finish(FinishReason.ANSWERED, reward=1.0)


def family_of(lengths: list[list[list[tuple[list[int], int]]]]) -> list[Group]:
    return [
        Group(f"g/{n}", GroupKind.EPISODE, "p", tuple(trajectory(f"g/{n}/{i}", each) for i, each in enumerate(group)))
        for n, group in enumerate(lengths)
    ]


def content(family: object) -> list[object]:
    assert isinstance(family, list)
    return [
        (group.uid, each.id, each.spans, each.ids, each.log_probs.tobytes(), each.versions.tobytes(), each.reward)
        for group in family
        for each in group.trajectories
    ]


@given(families)
def test_parted_and_joined_it_is_the_same(lengths):
    family = family_of(lengths)
    outline, tokens = part(family)
    assert content(join(outline, tokens)) == content(family)


@given(families)
def test_an_outline_says_everything_but_the_tokens(lengths):
    family = family_of(lengths)
    outline, tokens = part(family)
    assert len(tokens) == sum(len(group.trajectories) for group in family)
    for group, known in zip(family, outline, strict=True):
        for each, without in zip(group.trajectories, known.trajectories, strict=True):
            assert isinstance(without.tokens, StoredTokens)
            assert (without.length, without.loss_runs) == (each.length, each.loss_runs)
            assert without.tokens.version_counts() == each.tokens.version_counts()
            assert sum(each.tokens.version_counts().values()) == each.loss_mask().sum()


@given(families)
def test_what_is_in_the_store_goes_on_by_reference_and_what_is_here_by_value(lengths):
    family = family_of(lengths)
    outline, _ = part(family)
    assert apart(leave(outline, "reference"))[1] == "reference"
    again, value = apart(family)
    assert content(join(again, value)) == content(family)


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), max_size=5))
def test_packed_tokens_keep_the_borders(rows):
    single = [trajectory("t", [(ids, 0)] if ids else []).tokens.load() for ids in rows]
    packed = PackedTokens.of(single)
    found: list[Tokens] = [packed[index] for index in range(len(packed))]
    assert [each.ids for each in found] == [each.ids for each in single]
    assert packed.ids.dtype == packed.versions.dtype == "int32"
    assert packed.log_probs.dtype == "float32"


def test_tokens_that_do_not_come_are_the_engines_loss():
    async def wait() -> None:
        await arrival(asyncio.get_running_loop().create_future(), 0.01)

    with pytest.raises(EngineError, match=r"did not come in 0\.01 s"):
        asyncio.run(wait())
