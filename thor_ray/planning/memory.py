"""How much memory engines and learners will need, part by part.

Estimates by formula, from shapes and settings alone; ``docs/recipes.md`` works through one by hand. All figures are bytes.
"""

from dataclasses import dataclass
from typing import Final

from thor_ray.config import LearnerConfig, LoraConfig, Recipe
from thor_ray.planning.shape import ModelShape

GIBIBYTE: Final = 1 << 30

ELEMENT_BYTES: Final = {"float32": 4, "bfloat16": 2}
"""Bytes of a number by ``policy.dtype``."""

LOGITS_HELD: Final = 2**25
"""Logits that the learner holds at once (`learners.model.MAX_LOGITS`)."""

LOGIT_BYTES: Final = 16
"""Of each held logit: itself, in float32, its softmax, and the gradients of both."""

REDUCE_BUCKET_ELEMENTS: Final = 500_000_000
"""DeepSpeed's ``reduce_bucket_size``: gradients wait there for their reduction."""

LIVE_PARAMETER_ELEMENTS: Final = 1_000_000_000
"""DeepSpeed's ``stage3_max_live_parameters``: weights that ZeRO-3 keeps gathered at the most."""

PROCESS_OVERHEAD: Final = 2 * GIBIBYTE
"""Of a process on a GPU: CUDA context, kernels, NCCL buffers, CUDA graphs, fragmentation. A guess, not a measurement."""

STAYS_WITH_RANK: Final = ("weights", "process")
"""Parts of a rank that stay on its GPU while an engine samples there (`learners.zero.offload_states`)."""

STAYS_WITH_ENGINE: Final = ("process",)
"""Parts of an engine that stay on its GPU while it sleeps (`actors.engine_sleep`)."""

BUCKETS_HELD: Final = 2
"""Buckets of weights that a rank keeps from one publication to the next (`thor_ray.weights.ipc_link`)."""

PREFILL_TOKENS: Final = 8192
"""Tokens in one step of an engine, for its working memory."""


@dataclass(frozen=True, slots=True)
class RoleMemory:
    """What one process of a role holds on its GPU, or in the machine's memory where there is none.

    Attributes:
        parts: Bytes by what they are for.
    """

    parts: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.parts.values())

    @property
    def dominant(self) -> str:
        """The largest part."""
        return max(self.parts, key=self.parts.__getitem__)


@dataclass(frozen=True, slots=True)
class LearnerMemory(RoleMemory):
    """What one learner rank needs."""


@dataclass(frozen=True, slots=True)
class EngineMemory(RoleMemory):
    """What one GPU of an engine holds; the cache takes what the engine's share of the GPU leaves.

    Attributes:
        cache_tokens: Tokens that the key-value cache of the whole engine holds; below 1 if the weights do not fit.
    """

    cache_tokens: int


@dataclass(frozen=True, slots=True)
class SharedMemory:
    """What a GPU holds that an engine and a rank share, in the turn of each.

    Attributes:
        sampling: While the engine samples: all of the engine, and what stays of the rank.
        learning: While the rank works: all of the rank, and what stays of the engine.
    """

    sampling: RoleMemory
    learning: RoleMemory

    @property
    def peak(self) -> int:
        """Bytes that the GPU needs to have."""
        return max(self.sampling.total, self.learning.total)


def shared_memory(shape: ModelShape, recipe: Recipe) -> SharedMemory:
    """Memory of a GPU with ``placement.mode: colocated``.

    In between the engine's weights are awake and its cache is not, which is less than ``sampling``.

    Args:
        shape: Of the policy.
        recipe: The sections that ``engine_memory`` and ``learner_memory`` use, and ``publishing``.
    """
    engine, learner = engine_memory(shape, recipe).parts, learner_memory(shape, recipe).parts
    weights = ELEMENT_BYTES[recipe.policy.dtype] * shape.parameters
    buckets = {"buckets": BUCKETS_HELD * min(recipe.publishing.bucket_mib << 20, weights)}
    resting = {f"the rank's {name}": learner[name] for name in STAYS_WITH_RANK if name in learner}
    asleep = {f"the engine's {name}": engine[name] for name in STAYS_WITH_ENGINE if name in engine}
    return SharedMemory(RoleMemory(engine | resting | buckets), RoleMemory(learner | asleep | buckets))


def learner_memory(shape: ModelShape, recipe: Recipe) -> LearnerMemory:
    """Memory of one learner rank.

    Mixed precision keeps weights in bfloat16 and, sharded over ranks from ZeRO-1 on, a float32 copy and two moments;
    gradients add up in float32, sharded from ZeRO-2 on; weights are sharded from ZeRO-3 on (arXiv 1910.02054, figure 1).
    What the optimizer's step needs beside these is less than the activations, which are gone by then.

    Args:
        shape: Of the policy.
        recipe: Sections ``learner``, ``policy`` and ``placement`` are used, and the weight of the KL term.
    """
    learner, dtype = recipe.learner, recipe.policy.dtype
    element, count, stage = ELEMENT_BYTES[dtype], shape.parameters, learner.zero_stage
    on_gpu = recipe.placement.gpu_memory_gib is not None

    def shard(numbers: int, from_stage: int) -> int:
        return -(-numbers // learner.ranks) if stage >= from_stage else numbers

    trained = count if learner.lora is None else adapter_parameters(shape, learner.lora)
    parts = {
        "weights": element * shard(count, 3) if learner.offload.parameters == "none" else 0,
        "gradients": 4 * shard(trained, 2),
        "optimizer": (12 if dtype == "bfloat16" else 8) * shard(trained, 1)
        if learner.offload.optimizer == "none"
        else 0,
        "activations": activation_bytes(shape, learner, element),
    }
    if recipe.rl.objective.kl_weight > 0:
        parts["reference policy"] = element * shard(count, 3)
    if stage == 3:
        parts["gathered weights"] = element * min(count, LIVE_PARAMETER_ELEMENTS)
    if stage >= 2:
        # DeepSpeed allocates it by its own size, not by the model's; of memory on a CPU only what is used counts.
        parts["reduction buffer"] = element * (
            REDUCE_BUCKET_ELEMENTS if on_gpu else min(trained, REDUCE_BUCKET_ELEMENTS)
        )
    if on_gpu:
        parts["process"] = PROCESS_OVERHEAD
    return LearnerMemory(parts)


def adapter_parameters(shape: ModelShape, lora: LoraConfig) -> int:
    """Number of weights of the low-rank adapters: ``rank`` times height and width of each adapted matrix."""
    matrices = {
        "q_proj": shape.hidden + shape.queries,
        "k_proj": shape.hidden + shape.keys,
        "v_proj": shape.hidden + shape.keys,
        "o_proj": shape.queries + shape.hidden,
        "gate_proj": shape.hidden + shape.intermediate,
        "up_proj": shape.hidden + shape.intermediate,
        "down_proj": shape.intermediate + shape.hidden,
    }
    adapted = lora.layers or tuple(matrices)
    return shape.layers * lora.rank * sum(matrices.get(name, 0) for name in adapted)


def activation_bytes(shape: ModelShape, learner: LearnerConfig, element: int) -> int:
    """What forward and backward pass of one micro-batch keep.

    With gradient checkpointing all layers keep their input alone, and one at a time is computed again. The backward
    pass of a layer holds two more rows of the MLP.
    """
    tokens, layer, in_backward = learner.micro_batch_tokens, layer_numbers(shape), 2 * shape.intermediate
    kept = shape.layers * shape.hidden + layer if learner.gradient_checkpointing else shape.layers * layer
    logits = LOGIT_BYTES * min(LOGITS_HELD, tokens * shape.vocabulary)
    return element * tokens * (kept + in_backward) + logits


def layer_numbers(shape: ModelShape) -> int:
    """Numbers that one layer keeps of each token for its backward pass.

    Two normalised inputs, whose float32 copies count twice (and are kept once more), queries and attention's output,
    keys and values, and four rows of the MLP; where queries and keys are normalised, three more of each.
    """
    norms = 3 * (shape.queries + shape.keys) if shape.query_norm else 0
    return 8 * shape.hidden + 2 * (shape.queries + shape.keys) + 4 * shape.intermediate + norms


def engine_memory(shape: ModelShape, recipe: Recipe) -> EngineMemory:
    """Memory of one GPU of an engine; where the recipe names no GPU, of an engine on a CPU.

    Args:
        shape: Of the policy.
        recipe: Sections ``engine``, ``placement`` and ``policy`` are used.
    """
    engine, element = recipe.engine, ELEMENT_BYTES[recipe.policy.dtype]
    per_token = shape.cache_bytes_per_token(element)
    if recipe.placement.gpu_memory_gib is None:
        cache = engine.kv_cache_mib << 20
        return EngineMemory({"weights": element * shape.parameters, "cache": cache}, cache // per_token)
    share = int(engine.gpu_memory_utilization * recipe.placement.gpu_memory_gib * GIBIBYTE)
    weights = element * shape.parameters // engine.tensor_parallel
    prefill = PREFILL_TOKENS * (4 * shape.intermediate // engine.tensor_parallel + 4 * shape.hidden) * element
    # Sampling holds logits in the policy's precision, in float32, and their log-probs.
    sampling = engine.max_sequences * shape.vocabulary * (element + 8)
    cache = share - weights - prefill - sampling
    parts = {
        "weights": weights,
        "cache": max(cache, 0),
        "working memory": prefill + sampling,
        "process": PROCESS_OVERHEAD,
    }
    # Each GPU caches its share of the key heads, one at the least.
    heads_per_gpu = -(-shape.key_heads // engine.tensor_parallel)
    return EngineMemory(parts, cache // (per_token * heads_per_gpu // shape.key_heads))
