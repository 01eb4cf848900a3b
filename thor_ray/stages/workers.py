"""The actors that a stage works with: engines that sample and ranks that learn, started on one policy."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from actors.codec import TokenizerCodec
from actors.fleet import RolloutFleet
from actors.placement import start_rollout_actors, stop_rollout_actors
from learners.group import LearnerGroup
from thor_ray.config import Recipe
from thor_ray.errors import UserError
from thor_ray.tiny import base_model_path


@dataclass(frozen=True, slots=True)
class Workers:
    """Rollout actors and learners that hold the same policy.

    Attributes:
        fleet: Rollout actors.
        learners: DeepSpeed ranks.
        decode: Token ids to text, by the policy's tokenizer.
    """

    fleet: RolloutFleet
    learners: LearnerGroup
    decode: Callable[[Sequence[int]], str]


def policy_path(model: str) -> Path:
    """The directory of the policy that a recipe names.

    Raises:
        UserError: it is no Hugging Face model directory.
    """
    path = base_model_path() if model == "tiny" else Path(model)
    missing = [name for name in ("config.json", "tokenizer.json") if not (path / name).is_file()]
    if missing:
        raise UserError(
            f"policy.model {model!r} is no model directory: {' and '.join(missing)} missing",
            "name a directory that transformers' save_pretrained wrote, or `tiny` for the shipped policy",
        )
    return path


@contextmanager
def started_workers(recipe: Recipe, model: Path) -> Iterator[Workers]:
    """Starts engines and learners side by side on the policy in ``model``, and ends them afterwards.

    Raises:
        ClusterError: the cluster has no room for the rollout actors.
        LearnerPlacementError: nor for the learners.
    """
    with ThreadPoolExecutor(max_workers=1) as executor:
        # Each takes tens of seconds, most of it imports, so they start at the same time.
        starting = executor.submit(start_rollout_actors, recipe, str(model))
        try:
            learners = LearnerGroup(model, recipe.learner, recipe.policy.dtype)
        except BaseException:
            stop_rollout_actors(starting.result(), close_seconds=0)
            raise
        with learners:
            actors = starting.result()
            try:
                yield Workers(RolloutFleet(actors), learners, TokenizerCodec.from_directory(str(model)).decode)
            finally:
                stop_rollout_actors(actors)
