"""The contestants of ``learner_speed.py``: whoever they are, they wait for their turn, update, and report."""

import socket
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benches.learning.workload import GROUP_SIZE, Settings, make_sequences
from learners.packing import PlannedBatch, plan
from learners.sequences import TrainingSequence, token_counts
from thor_ray.config import ObjectiveConfig, OptimizerConfig
from thor_ray.objectives import denominators

if TYPE_CHECKING:
    import torch

CONTESTANTS: Final = ("torch", "trl", "arrival", "sorted", "packed")

OPTIMIZER: Final = OptimizerConfig(learning_rate=1e-6, weight_decay=0.0, max_grad_norm=1.0)
OBJECTIVE: Final = ObjectiveConfig(nll_weight=0.0)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One update.

    Attributes:
        wall: Seconds by the clock.
        cpu: Seconds of all CPU threads together.
        loss: Of the mini-batch, before the step.
        peak_bytes: Most GPU memory that tensors took; 0 without a GPU.
    """

    wall: float
    cpu: float
    loss: float
    peak_bytes: int = 0


class Turn:
    """A contestant's side of its pipe: it waits for its turn, updates, and reports."""

    def __init__(self, connection: Connection, gpu: bool) -> None:
        self._connection = connection
        self._gpu = gpu
        self._started = (0.0, 0.0)

    def begin(self) -> None:
        """Blocks until it is this contestant's turn."""
        self._connection.send("ready")
        self._connection.recv()
        if self._gpu:
            import torch

            torch.cuda.reset_peak_memory_stats()
        self._started = (time.perf_counter(), time.process_time())

    def end(self, loss: float) -> None:
        """Reports the update since ``begin``."""
        peak = 0
        if self._gpu:
            import torch

            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated()
        wall, cpu = time.perf_counter() - self._started[0], time.process_time() - self._started[1]
        self._connection.send(Measurement(wall, cpu, loss, peak))


def run_contestant(name: str, settings: Settings, path: Path, connection: Connection) -> None:
    """A contestant's process: one uncounted update, then as many as there are repeats."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.set_num_threads(settings.threads)
    turn, sequences = Turn(connection, settings.gpu), make_sequences(settings)
    if name == "trl":
        run_trl(settings, path, sequences, turn)
    elif name == "torch":
        run_torch(settings, path, sequences, turn)
    else:
        run_ours(name, settings, path, sequences, turn)


def padded(rows: Sequence[Any], length: int) -> "torch.Tensor":
    """Arrays padded on the right with 0 to a common length."""
    import torch

    table = np.zeros((len(rows), length), dtype=rows[0].dtype)
    for target, row in zip(table, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(table)


def run_torch(settings: Settings, path: Path, sequences: Sequence[TrainingSequence], turn: Turn) -> None:
    """The loop that one would write first."""
    import torch
    from transformers import AutoModelForCausalLM

    device = torch.device("cuda" if settings.gpu else "cpu")
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).to(device).train()
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(model.parameters(), lr=OPTIMIZER.learning_rate, weight_decay=OPTIMIZER.weight_decay)
    tokens = sum(sequence.loss_tokens for sequence in sequences)
    for _ in range(1 + settings.repeats):
        turn.begin()
        total = 0.0
        for start in range(0, len(sequences), settings.rows):
            chosen = sequences[start : start + settings.rows]
            longest = max(map(len, chosen))
            ids = padded([each.ids for each in chosen], longest).to(device)
            attention_mask = padded([np.ones(len(each), np.int64) for each in chosen], longest).to(device)
            mask = padded([each.loss_mask for each in chosen], longest).to(device)[:, 1:]
            old = padded([each.behaviour_log_probs for each in chosen], longest).to(device)[:, 1:]
            advantages = torch.tensor([[each.advantage] for each in chosen], device=device)
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.gpu):
                logits = model(input_ids=ids, attention_mask=attention_mask, use_cache=False).logits[:, :-1]
            log_probs = logits.float().log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
            loss = (clipped_loss(log_probs - old, advantages) * mask).sum() / tokens
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        turn.end(total)


def clipped_loss(log_ratios: "torch.Tensor", advantages: "torch.Tensor") -> "torch.Tensor":
    """The clipped surrogate with its dual clip, of each token."""
    import torch

    ratios = log_ratios.exp()
    bounded = ratios.clamp(1 - OBJECTIVE.clip_low, 1 + OBJECTIVE.clip_high)
    return -torch.minimum(advantages * ratios.clamp(max=OBJECTIVE.dual_clip), advantages * bounded)


def run_ours(name: str, settings: Settings, path: Path, sequences: Sequence[TrainingSequence], turn: Turn) -> None:
    """One rank of our learner, without Ray, which has no part in an update."""
    from learners.policy_spec import PolicySpec
    from learners.worker import LearnerWorker
    from learners.zero import Rendezvous

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    worker = LearnerWorker()
    stage = 1 if settings.gpu else 0
    worker.setup(
        Rendezvous(0, 1, "127.0.0.1", port),
        PolicySpec(
            path,
            settings.dtype,
            stage,
            gradient_checkpointing=settings.gradient_checkpointing,
            packing=name == "packed",
            threads=settings.threads,
        ),
        timeout_seconds=600.0,
    )
    worker.configure_optimizer(OPTIMIZER, total_updates=1 + settings.repeats, temperature=1.0)
    divisors = denominators(token_counts(sequences), OBJECTIVE.denominator)
    for _ in range(1 + settings.repeats):
        turn.begin()
        turn.end(worker.update_rl(micro_batches(name, sequences, settings), divisors, OBJECTIVE).loss)


def micro_batches(name: str, sequences: Sequence[TrainingSequence], settings: Settings) -> tuple[PlannedBatch, ...]:
    """The mini-batch as ``arrival``, ``sorted`` or ``packed`` lay it out."""
    budget = settings.micro_batch_tokens
    if name != "arrival":
        return plan(sequences, ranks=1, micro_batch_tokens=budget, packing=name == "packed")[0]
    starts = range(0, len(sequences), settings.rows)
    turns = [sequences[start : start + settings.rows] for start in starts]
    return tuple(batch for turn in turns for batch in plan(turn, ranks=1, micro_batch_tokens=budget)[0])


def computed_tokens(name: str, sequences: Sequence[TrainingSequence], settings: Settings) -> int:
    """Tokens that go through a contestant's model in an update, padding included."""
    if name == "trl":
        return len(sequences) * max(map(len, sequences))
    layout = "arrival" if name == "torch" else name
    return sum(batch.computed_tokens for batch in micro_batches(layout, sequences, settings))


def run_trl(settings: Settings, path: Path, sequences: Sequence[TrainingSequence], turn: Turn) -> None:
    """TRL's own training loop; the clock runs between the callbacks at the beginning and the end of a step."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback

    # TRL asks for an older vLLM as soon as it is imported; it samples nothing here.
    warnings.filterwarnings("ignore", message="TRL currently supports vLLM")
    from trl import GRPOConfig, GRPOTrainer

    batch = trl_batch(settings, sequences)

    class Trainer(GRPOTrainer):
        """Trains on what is given instead of sampling."""

        loss = 0.0

        def _generate_and_score_completions(self, inputs: Any) -> dict[str, torch.Tensor]:
            return {name: tensor.to(self.accelerator.device) for name, tensor in batch.items()}

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any) -> torch.Tensor:
            loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
            self.loss += loss.item()
            return loss

    class Clock(TrainerCallback):
        """Lets the trainer step when it is its turn."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            trainer.loss = 0.0
            turn.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turn.end(trainer.loss)

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32),
            processing_class=AutoTokenizer.from_pretrained(path),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            train_dataset=Dataset.from_dict({"prompt": ["1"] * settings.sequences}),
            callbacks=[Clock()],
            args=GRPOConfig(output_dir=folder, **trl_options(settings)),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def trl_options(settings: Settings) -> dict[str, Any]:
    """Of ``GRPOConfig``, so that TRL computes what all compute; what is not here is as TRL has it."""
    return {
        "use_cpu": not settings.gpu,
        "bf16": settings.gpu,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "per_device_train_batch_size": settings.rows,
        "gradient_accumulation_steps": settings.sequences // settings.rows,
        "num_generations": GROUP_SIZE,
        "max_completion_length": settings.max_length - settings.prompt_tokens,
        "max_steps": 1 + settings.repeats,
        "learning_rate": OPTIMIZER.learning_rate,
        "weight_decay": OPTIMIZER.weight_decay,
        "max_grad_norm": OPTIMIZER.max_grad_norm,
        "lr_scheduler_type": "constant",
        "loss_type": "dapo",
        "epsilon": OBJECTIVE.clip_low,
        "epsilon_high": OBJECTIVE.clip_high,
        "delta": OBJECTIVE.dual_clip,
        "beta": 0.0,
        "temperature": 1.0,
        "report_to": "none",
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def trl_batch(settings: Settings, sequences: Sequence[TrainingSequence]) -> dict[str, "torch.Tensor"]:
    """What GRPOTrainer makes of samples: all padded to the longest of the mini-batch, in the order of arrival."""
    import torch

    prompt = settings.prompt_tokens
    longest = max(map(len, sequences)) - prompt
    responses = [sequence.ids[prompt:] for sequence in sequences]
    masks = [sequence.loss_mask[prompt:].astype(np.int64) for sequence in sequences]
    return {
        "prompt_ids": padded([sequence.ids[:prompt] for sequence in sequences], prompt),
        "prompt_mask": torch.ones(len(sequences), prompt, dtype=torch.int64),
        "completion_ids": padded(responses, longest),
        "completion_mask": padded([np.ones_like(response) for response in responses], longest),
        "tool_mask": padded(masks, longest),
        "advantages": torch.tensor([sequence.advantage for sequence in sequences]),
        "old_per_token_logps": padded([sequence.behaviour_log_probs[prompt:] for sequence in sequences], longest),
        "num_items_in_batch": torch.tensor(sum(sequence.loss_tokens for sequence in sequences)),
    }
