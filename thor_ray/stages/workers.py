"""The actors that a stage works with: engines that sample and ranks that learn, started on one policy."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.codec import TokenizerCodec
from actors.fleet import RolloutFleet
from actors.placement import begin_rollout_actor, start_rollout_actors, stop_rollout_actors
from actors.reservation import Bundles, Reservation
from actors.supervision import Bring, Repair
from learners.group import LearnerGroup
from learners.publish import WeightPublication
from learners.ranks import ReservedRanks
from thor_ray.config import Recipe
from thor_ray.progress import Progress
from thor_ray.runlog import RunLog


@dataclass(frozen=True, slots=True)
class Workers:
    """Rollout actors and, where something is learnt, learners that hold the same policy.

    Attributes:
        fleet: Rollout actors.
        codec: The policy's tokenizer.
        share_gpus: Whether engines and learners take turns on the same GPUs; else both always have theirs.
    """

    fleet: RolloutFleet
    codec: TokenizerCodec
    _learners: LearnerGroup | None = None
    share_gpus: bool = False

    @property
    def learners(self) -> LearnerGroup:
        """DeepSpeed ranks.

        Raises:
            RuntimeError: they were not asked for.
        """
        if self._learners is None:
            raise RuntimeError("these workers were started without learners")
        return self._learners

    def learners_turn(self) -> None:
        """Before learning: where GPUs are shared, engines fall asleep, then the optimizer comes. Harmless in their turn."""
        if self.share_gpus:
            self.fleet.supervisor.sleep()
            self.learners.reload_states()

    def engines_turn(self) -> None:
        """Before sampling: where GPUs are shared, the optimizer goes, then engines wake with the weights that they had.

        Harmless in their turn, which a publication begins as well.
        """
        if self.share_gpus:
            self.learners.offload_states()
            self.fleet.supervisor.wake_up()

    def publish(self) -> WeightPublication:
        """Brings the learner's weights to all engines as the next version; see `LearnerGroup.publish`.

        Engines that sleep wake for it, so that their turn begins. An engine that dies or hangs meanwhile is replaced, and
        the version published again to those that live.

        Raises:
            RolloutActorDiedError: no engine is left.
        """
        return self._deliver(self.learners.publish)

    def publish_again(self) -> WeightPublication:
        """The same under the version that the engines should have already; see `LearnerGroup.publish_again`."""
        return self._deliver(self.learners.publish_again)

    def _deliver(self, publish: Bring[WeightPublication]) -> WeightPublication:
        if self.share_gpus:
            self.learners.offload_states()
        return self.fleet.supervisor.deliver(publish)


@contextmanager
def started_workers(recipe: Recipe, model: Path, *, learners: bool = True, version: int = 0) -> Iterator[Workers]:
    """Starts engines and, if asked to, learners side by side on the policy in ``model``, and ends them afterwards.

    Args:
        recipe: Says how many of which.
        model: Hugging Face directory.
        learners: Whether something is learnt.
        version: Of the weights in ``model``; more than 0 where a run goes on.

    Raises:
        PreflightError: the cluster is too small for both.
        ClusterBusyError: others hold what is needed.
    """
    codec = TokenizerCodec.from_directory(str(model))
    with ThreadPoolExecutor(max_workers=1) as executor, ExitStack() as stack:
        # Each takes tens of seconds, most of it imports, so they start at the same time.
        room = stack.enter_context(Reservation(recipe, learners=learners))
        starting = executor.submit(start_rollout_actors, recipe, str(model), version=version, bundles=room.engines)
        stack.callback(lambda: stop_rollout_actors(starting.result()) if starting.exception() is None else None)
        if recipe.placement.mode == "colocated":
            # An engine that starts takes what it finds missing of its GPU for its own, so nobody else may start then.
            starting.result()
        group = None
        if learners:
            group = stack.enter_context(
                LearnerGroup(
                    model,
                    recipe.learner,
                    recipe.policy.dtype,
                    version=version,
                    publishing=recipe.publishing,
                    workers_per_engine=recipe.engine.tensor_parallel,
                    reserved=ReservedRanks(room.ranks.group, room.ranks.indices, room.ranks.gpus),
                )
            )
        fleet = RolloutFleet(
            starting.result(),
            room=recipe.engine.max_sequences,
            repair=_repair(recipe, model, version, room.engines, group),
            liveness=recipe.engine.liveness,
        )
        stack.callback(lambda: stop_rollout_actors(fleet.supervisor.restarted))
        yield Workers(fleet, codec, group, share_gpus=recipe.placement.mode == "colocated")


def _repair(recipe: Recipe, model: Path, version: int, bundles: Bundles, learners: LearnerGroup | None) -> Repair:
    """Engines start on the weights of the first ones, and are owed the learner's where there is one."""

    def start(place: int) -> Any:
        return begin_rollout_actor(recipe, str(model), bundles, place, version, awaits_weights=learners is not None)

    return Repair(start, None if learners is None else learners.publish_again, recipe.engine.restarts)


def note_isolation(workers: Workers, log: RunLog, progress: Progress) -> None:
    """Says and writes down how well programs are really confined; what a recipe asks for is only the least of it."""
    found = workers.fleet.isolation()
    (log.logs / "sandbox.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    progress.say(f"sandbox: isolation level {min(each['level'] for each in found):d}")
