"""A real engine is looked at while it lives, by the tokens that it generates, and missed when it is gone."""

import time

import ray

from actors.codec import TokenizerCodec
from actors.fleet import RolloutFleet
from thor_ray.config import Recipe, SamplingConfig
from thor_ray.fleet_record import EngineSeen, read_looks
from thor_ray.runlog import RunLog
from thor_ray.stages.fleet_watch import fleet_watched, look_at
from thor_ray.stages.workers import Workers

PATIENCE = 120.0
UNSEEN = [EngineSeen(answers=False)]


def answered(workers, before):
    """A look at an engine that answers in time, as one on a busy machine may not do at once."""
    deadline = time.monotonic() + PATIENCE
    while not (look := look_at(workers, before, 1, learners=False)).engines[0].answers:
        assert time.monotonic() < deadline
    return look


def workers_of(actor, tiny_policies):
    return Workers(RolloutFleet([actor]), TokenizerCodec.from_directory(str(tiny_policies.taught)))


def test_an_engine_is_seen_to_generate(rollout_actor, tiny_policies, tmp_path):
    workers = workers_of(rollout_actor, tiny_policies)
    before = answered(workers, UNSEEN)
    prompt = workers.codec.encode("What is 2 + 3?")
    ray.get(rollout_actor.sample_text.remote([prompt], SamplingConfig(max_new_tokens=8), 0))
    after = answered(workers, before.engines)
    assert after.engines[0].version == ray.get(rollout_actor.version.remote())
    assert after.engines[0].generated_tokens > before.engines[0].generated_tokens
    assert after.engines[0].generated_at == after.time
    again = answered(workers, after.engines)
    assert again.engines[0].generated_at == after.time
    names = {process.name for process in again.processes}
    assert {"driver", "RolloutActor", "EngineCore"} <= names
    assert [process for process in again.processes if process.memory_mib <= 10] == []
    with (
        RunLog.create(tmp_path / "run", Recipe(), "train") as log,
        fleet_watched(workers, log, learners=False, seconds=0.05),
    ):
        deadline = time.monotonic() + PATIENCE
        while len(read_looks(log.logs)) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert any(look.engines[0].answers for look in read_looks(log.logs))
