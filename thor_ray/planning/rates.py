"""How fast engines sample and learners learn: by a GPU's data sheet (the roofline), or as a run has measured it.

The roofline (Williams and others, 2009): a step of an engine reads all weights once and the keys and values of every
running sequence, and computes two operations per weight and sequence; whichever takes longer is how long it lasts. An
update computes six operations per weight and token, eight with gradient checkpointing (Kaplan and others, arXiv
2001.08361), and two more for the log-probs of the proximal policy; attention adds its own. What of a data sheet's figures
is reached in practice is assumed.
"""

from dataclasses import dataclass
from typing import Final

from thor_ray.config import Recipe
from thor_ray.planning.gpus import Gpu
from thor_ray.planning.lengths import Lengths
from thor_ray.planning.memory import ELEMENT_BYTES
from thor_ray.planning.shape import ModelShape

BANDWIDTH_REACHED: Final = 0.6
"""Share of the memory's bandwidth that an engine reaches."""

ENGINE_FLOPS_REACHED: Final = 0.5
"""Share of the arithmetic that an engine reaches where that is what holds it back."""

LEARNER_FLOPS_REACHED: Final = 0.35
"""Model FLOPs utilization of an update; 0.3 to 0.5 is what such trainers report."""

PUBLISHED_BYTES_PER_SECOND: Final = 10e9
"""Of weights on their way to the engines, all buckets and checks included."""

TOOL_SECONDS: Final = 0.5
"""That a trajectory spends on its programs."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds that things take.

    Attributes:
        weight_seconds: Of an engine's step, however many sequences run.
        sequence_seconds: That each running sequence adds to it.
        compute_seconds: Arithmetic of a step for each running sequence; the longer of both is what counts.
        learner_seconds: A rank's, for a token.
        publish_seconds: From the last update of a round to the next one's first: weights on their way, and bookkeeping.
        tool_seconds: That a trajectory waits for its programs.
        source: Where they are from, for people.
    """

    weight_seconds: float
    sequence_seconds: float
    compute_seconds: float
    learner_seconds: float
    publish_seconds: float
    tool_seconds: float
    source: str

    def step_seconds(self, running: float) -> float:
        """How long an engine's step takes, in which each of ``running`` sequences gets a token."""
        return max(self.weight_seconds + running * self.sequence_seconds, running * self.compute_seconds)


def roofline(shape: ModelShape, recipe: Recipe, gpu: Gpu, lengths: Lengths) -> Rates:
    """Rates by the data sheet.

    Args:
        shape: Of the policy.
        recipe: ``engine.tensor_parallel``, ``learner.gradient_checkpointing`` and ``policy.dtype`` are used.
        gpu: Of engines and learners alike.
        lengths: A sequence is on average half as long as it will be while it is sampled.
    """
    element, parallel, weights = ELEMENT_BYTES[recipe.policy.dtype], recipe.engine.tensor_parallel, shape.parameters
    read = parallel * BANDWIDTH_REACHED * gpu.bytes_per_second
    # Scores and their products with the values: 4 L q operations for each token before this one; half of them on average.
    attention = 2 * shape.layers * shape.queries * lengths.mean
    forward = 2 * weights + attention
    passes = 5 if recipe.learner.gradient_checkpointing else 4
    return Rates(
        weight_seconds=element * weights / read,
        sequence_seconds=shape.cache_bytes_per_token(element) * lengths.mean / 2 / read,
        compute_seconds=forward / (parallel * ENGINE_FLOPS_REACHED * gpu.flops),
        learner_seconds=passes * forward / (LEARNER_FLOPS_REACHED * gpu.flops),
        publish_seconds=element * weights / PUBLISHED_BYTES_PER_SECOND,
        tool_seconds=TOOL_SECONDS,
        source=f"roofline: {BANDWIDTH_REACHED:.0%} of the bandwidth, {ENGINE_FLOPS_REACHED:.0%} of an engine's and "
        f"{LEARNER_FLOPS_REACHED:.0%} of a learner's arithmetic, weights published at {PUBLISHED_BYTES_PER_SECOND / 1e9:g} GB/s, "
        f"{TOOL_SECONDS:g} s of programs for each trajectory",
    )
