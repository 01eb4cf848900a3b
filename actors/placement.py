"""Where actors run: joining or starting a Ray cluster, and placing rollout actors on it."""

import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import GetTimeoutError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.layout import Node, nodes_of
from actors.logs import ActorLog
from actors.reservation import Bundles
from actors.rollout import RolloutActor
from actors.stop_requests import stop_requests_wait
from actors.supervision import START_SECONDS
from thor_ray.config import Recipe
from thor_ray.errors import UserError
from thor_ray.preflight import listens


class ClusterError(UserError):
    """The cluster cannot give what is asked. The message says what was asked, what there is, and what to do."""


class RayCluster:
    """The Ray cluster of a run: an existing one, which is left alone afterwards, or one of our own.

    An existing cluster is joined if ``address`` or the environment variable ``RAY_ADDRESS`` names one, or if ``ray
    start`` has started one on this machine. Otherwise we start our own here; its processes share the fate of this one,
    so that no kind of exit leaves them behind.
    (After a SIGKILL, Ray's own two agents on the node try for about a minute to report the loss before they end.)
    A cluster that another part of this process has already joined is used and left alone, too.

    Args:
        address: As `ray.init` takes it; ``None`` means ``RAY_ADDRESS``, or a cluster of our own.
        cpus: Logical CPUs that a cluster of our own must offer at least. Ray counts actors, not load, and the actors
            of a loop take turns, so that more may be offered than there are.
        temp_dir: Where a cluster of our own keeps its sockets and logs; the path must be short.
        actor_log: File that gets what the actors of a cluster of our own print, as they print it.
    """

    def __init__(
        self,
        address: str | None = None,
        cpus: int = 1,
        temp_dir: Path | None = None,
        actor_log: Path | None = None,
    ) -> None:
        self._address = address or os.environ.get("RAY_ADDRESS")
        self._cpus = cpus
        self._temp_dir = temp_dir
        self._actor_log = actor_log
        self._log: ActorLog | None = None
        self._joined = False
        self.dashboard_url: str | None = None
        self.is_own = False

    def __enter__(self) -> Self:
        if ray.is_initialized():
            return self
        context = self._join()
        if context is None:
            # Only this machine can reach it, and the user should be able to open the dashboard without a token.
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            context = self._start()
            self.is_own = True
            if self._actor_log is not None:
                self._log = ActorLog(Path(context.address_info["session_dir"]) / "logs", self._actor_log)
                self._log.start()
        self._joined = True
        self.dashboard_url = f"http://{context.dashboard_url}" if context.dashboard_url else None
        return self

    def _start(self) -> Any:
        """The context of a new cluster.

        Raises:
            ClusterError: Ray does not start here.
        """
        try:
            with stop_requests_wait():
                return ray.init(
                    address="local",
                    num_cpus=max(self._cpus, os.cpu_count() or 1),
                    include_dashboard=True,
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                    **({"_temp_dir": str(self._temp_dir)} if self._temp_dir else {}),
                )
        except Exception as error:  # Ray has no class of its own for any of its reasons
            ray.shutdown()
            raise ClusterError(
                f"Ray did not start on this machine: {error}",
                "its logs lie in /tmp/ray/session_latest/logs; a machine that is overloaded is the usual reason, and the "
                "same command may work later (`thor doctor` looks for others)",
            ) from error

    def _join(self) -> Any:
        """The context of an existing cluster, ``None`` where there is none to join.

        Raises:
            ClusterError: a cluster was named, but does not answer.
        """
        address = existing_cluster(self._address, self._temp_dir)
        if address is None:
            return None
        with stop_requests_wait():
            return ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._joined:
            # For a cluster that was joined this ends the connection only.
            ray.shutdown()
        if self._log is not None:
            self._log.close()


def existing_cluster(address: str | None = None, temp_dir: Path | None = None) -> str | None:
    """The address of the cluster that a run would join, ``None`` where it would start one of its own.

    Args:
        address: As `ray.init` takes it; ``None`` means ``RAY_ADDRESS``, or what ``ray start`` has started here.
        temp_dir: Where Ray keeps its notes; ``None`` is Ray's own place.

    Raises:
        ClusterError: a cluster was named, but does not answer.
    """
    named = address or os.environ.get("RAY_ADDRESS")
    noted = started_cluster(temp_dir or Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray")
    found = named or noted
    # Ray itself would try for minutes. A note may be all that is left of a cluster that was killed.
    if found is None or (not named and not listens(found)):
        return None
    if not listens(found):
        raise ClusterError(f"no Ray cluster answers at {found}", "start it, or unset RAY_ADDRESS to use one of our own")
    return found


def nodes_at(address: str) -> list[Node]:
    """The living nodes of a running cluster, which is left again at once.

    Raises:
        ConnectionError: it refuses this process; Ray's message says why.
    """
    if ray.is_initialized():
        return nodes_of(ray.nodes())
    with stop_requests_wait():
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    try:
        return nodes_of(ray.nodes())
    finally:
        ray.shutdown()


def started_cluster(temp_dir: Path) -> str | None:
    """The address that ``ray start`` noted on this machine, ``None`` where there is no such note."""
    note = temp_dir / "ray_current_cluster"
    return note.read_text().strip() or None if note.is_file() else None


def start_rollout_actors(
    recipe: Recipe,
    model: str,
    start_seconds: float = START_SECONDS,
    *,
    version: int = 0,
    bundles: Bundles | None = None,
) -> list[Any]:
    """Starts ``recipe.engine.actors`` rollout actors and waits until each has generated a token.

    On a cluster with GPUs each takes ``recipe.engine.tensor_parallel`` of them, everywhere one logical CPU.

    Args:
        recipe: Sections ``policy``, ``engine`` and ``sandbox`` are used.
        model: Hugging Face directory of the policy, readable on every node.
        start_seconds: How long they may take together.
        version: Of the weights in ``model``.
        bundles: Reserved room for them; ``None`` leaves it to Ray to find some.

    Returns:
        Handles of `RolloutActor`.

    Raises:
        ClusterError: the cluster has not enough of what they need, or they did not start in time.
        ray.exceptions.RayActorError: an actor failed to start; the message ends with its cause.
    """
    if bundles is None:
        bundles = anywhere(recipe)
    actors = [begin_rollout_actor(recipe, model, bundles, index, version) for index in range(recipe.engine.actors)]
    try:
        ray.get([actor.ready.remote() for actor in actors], timeout=start_seconds)
    except GetTimeoutError as error:
        free = ray.available_resources()
        stop_rollout_actors(actors, close_seconds=0)
        raise ClusterError(
            f"{recipe.engine.actors} rollout actors were not ready within {start_seconds:g} s; resources that were "
            f"free: {free}"
        ) from error
    except BaseException:
        # One that failed to start, or an interrupt: the others must not stay behind.
        stop_rollout_actors(actors, close_seconds=0)
        raise
    return actors


def begin_rollout_actor(
    recipe: Recipe, model: str, bundles: Bundles, index: int, version: int = 0, *, awaits_weights: bool = False
) -> Any:
    """Begins to start one rollout actor, and returns its handle at once.

    Args:
        recipe: As for `start_rollout_actors`.
        model: Hugging Face directory of the policy.
        bundles: Room for all of them. Where a bundle's node is gone, Ray looks for room elsewhere.
        index: Which of them this is.
        version: Of the weights in ``model``.
        awaits_weights: Whether the learner has others by now, which this actor is to be given before any prompt.
    """
    actor = ray.remote(RolloutActor).options(**actor_options(bundles, index))
    return actor.remote(recipe, model, version, awaits_weights=awaits_weights)


def actor_options(bundles: Bundles, index: int) -> dict[str, Any]:
    """What Ray is told of a rollout actor's room.

    It is never restarted by Ray, which would serve the weights of its first start again without telling anybody.
    """
    strategy = _strategy(bundles, index)
    return {"num_cpus": 1, "num_gpus": bundles.gpus, "max_restarts": 0, "scheduling_strategy": strategy}


def stop_rollout_actors(actors: list[Any], close_seconds: float = 30.0) -> None:
    """Ends rollout actors: kindly first, so that engines and sandboxes shut down in order, then for certain."""
    if actors and close_seconds > 0:
        ray.wait([actor.close.remote() for actor in actors], num_returns=len(actors), timeout=close_seconds)
    for actor in actors:
        ray.kill(actor)


def anywhere(recipe: Recipe) -> Bundles:
    """No room in particular, on a cluster that has enough of it.

    Raises:
        ClusterError: it has not.
    """
    there = ray.cluster_resources()
    gpus = recipe.engine.tensor_parallel if there.get("GPU", 0) else 0
    for name, amount in (("CPU", recipe.engine.actors), ("GPU", gpus * recipe.engine.actors)):
        if there.get(name, 0) < amount:
            raise ClusterError(
                f"{recipe.engine.actors} rollout actors need {amount:g} {name}, the cluster has {there.get(name, 0):g}; "
                "lower engine.actors or engine.tensor_parallel, or add nodes"
            )
    return Bundles(None, (), gpus)


def _strategy(bundles: Bundles, index: int) -> Any:
    lost = bundles.nodes and bundles.nodes[index] not in {node.name for node in nodes_of(ray.nodes())}
    if bundles.group is None or lost:
        return "SPREAD"
    return PlacementGroupSchedulingStrategy(bundles.group, placement_group_bundle_index=bundles.indices[index])
