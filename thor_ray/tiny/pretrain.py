"""Pretraining of the tiny policy's base model on plain text, without tools."""

import json
import logging
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from thor_ray.problems import LEVELS, generate
from thor_ray.tiny.batches import Batch, batches
from thor_ray.tiny.code_words import code_texts
from thor_ray.tiny.corpus import CORPUS_FAMILIES, documents
from thor_ray.tiny.evaluate import BaseEvaluation, copied_right, evaluate_base, token_losses
from thor_ray.tiny.model import build_model
from thor_ray.tiny.model_card import model_card
from thor_ray.tiny.tokenizer import train_tokenizer

_LOG = logging.getLogger(__name__)
_REPORT_NAME = "pretrain.json"
_TOKENIZER_DOCUMENTS = 6000
_TOKENIZER_CODE_REPETITIONS = 100


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """How a base model is pretrained.

    Attributes:
        seed: Seeds initialisation, documents and their order.
        updates: Optimiser updates.
        batch_size: Documents an update.
        learning_rate: Peak; reached after ``warmup_updates``, constant, then linear to zero over the last
            ``decay_share`` of the updates.
        warmup_updates: Updates of linear warm-up.
        decay_share: Share of the updates over which the learning rate falls.
        given_weight: Loss weight of question tokens. Their numbers are random, so predicting them teaches nothing
            and only adds gradient noise.
        layers: Transformer layers.
        threads: Threads of PyTorch. The result is bitwise repeatable for one thread.
        evaluation_problems: Held-out problems of the closing evaluation.
        log_every: Updates between progress reports.
    """

    seed: int = 0
    updates: int = 6000
    batch_size: int = 32
    learning_rate: float = 4e-3
    warmup_updates: int = 100
    decay_share: float = 0.3
    given_weight: float = 0.1
    layers: int = 3
    threads: int = 1
    evaluation_problems: int = 512
    log_every: int = 50

    def __post_init__(self) -> None:
        for name in ("updates", "batch_size", "layers", "threads", "evaluation_problems", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, but is {self.learning_rate}")


@dataclass(frozen=True, slots=True)
class Progress:
    """State of a running pretraining.

    Attributes:
        update: Updates done.
        updates: Updates in all.
        loss: Mean loss since the last report, in nats a token.
        copy_accuracy: Top-1 accuracy on copied digits since the last report.
        tokens_per_second: Training tokens a second since the last report.
        seconds_left: Estimated time until the last update.
    """

    update: int
    updates: int
    loss: float
    copy_accuracy: float
    tokens_per_second: float
    seconds_left: float

    def __str__(self) -> str:
        return (
            f"update {self.update}/{self.updates}  loss {self.loss:.4f}  digit copy {self.copy_accuracy:.4f}  "
            f"{self.tokens_per_second:,.0f} tokens/s  {self.seconds_left / 60:.1f} min left"
        )


@dataclass(frozen=True, slots=True)
class PretrainReport:
    """What a pretraining did and reached.

    Attributes:
        config: Its configuration.
        parameters: Trainable parameters.
        vocabulary: Tokens in the tokenizer.
        tokens: Tokens trained on, padding not counted.
        seconds: Wall time of the updates.
        loss: Mean training loss of the last progress report.
        evaluation: Figures on held-out problems.
    """

    config: PretrainConfig
    parameters: int
    vocabulary: int
    tokens: int
    seconds: float
    loss: float
    evaluation: BaseEvaluation


def pretrain(
    output_dir: Path,
    config: PretrainConfig | None = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> PretrainReport:
    """Train a tokenizer and a base model from nothing and write them as a Hugging Face directory.

    The directory appears whole or not at all; one that stood there before is replaced at the end. It also holds
    the report (``pretrain.json``) and a model card (``README.md``).

    Args:
        output_dir: Where the checkpoint goes.
        config: How to train; the defaults made the base that is shipped.
        on_progress: Called every ``log_every`` updates; by default, progress is logged.

    Raises:
        FileExistsError: ``output_dir`` holds something that is not a checkpoint of this function.
        FloatingPointError: The loss is no longer a number; a lower learning rate helps.
    """
    config = config or PretrainConfig()
    _refuse_foreign_directory(output_dir)
    torch.set_num_threads(config.threads)
    tokenizer = train_pretraining_tokenizer(config.seed)
    model = build_model(tokenizer, layers=config.layers, seed=config.seed)
    started = time.perf_counter()
    tokens, loss = _train(model, tokenizer, config, on_progress or (lambda progress: _LOG.info("%s", progress)))
    seconds = time.perf_counter() - started
    problems = generate(CORPUS_FAMILIES, LEVELS, config.evaluation_problems, config.seed, "heldout")
    report = PretrainReport(
        config=config,
        parameters=model.num_parameters(),
        vocabulary=len(tokenizer),
        tokens=tokens,
        seconds=seconds,
        loss=loss,
        evaluation=evaluate_base(model.eval(), tokenizer, problems),
    )
    _save(output_dir, model, tokenizer, report)
    return report


def train_pretraining_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """The tokenizer, from a sample of the pretraining documents and short programs."""
    sample = islice(documents(seed), _TOKENIZER_DOCUMENTS)
    texts = [document.given + document.copied + document.rest for document in sample]
    return train_tokenizer([*texts, *code_texts(_TOKENIZER_CODE_REPETITIONS)])


def learning_rate_factor(update: int, config: PretrainConfig) -> float:
    """Share of the peak learning rate in a 0-based update: linear up, constant, linear down to (almost) zero."""
    warmup = (update + 1) / (config.warmup_updates + 1)
    decay = (config.updates - update) / max(1.0, config.decay_share * config.updates)
    return min(1.0, warmup, decay)


def _train(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    config: PretrainConfig,
    on_progress: Callable[[Progress], None],
) -> tuple[int, float]:
    """All updates; returns the number of tokens and the last reported mean loss."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.01, fused=True
    )
    stream = batches(
        tokenizer,
        documents(config.seed),
        batch_size=config.batch_size,
        given_weight=config.given_weight,
        seed=config.seed,
    )
    model.train()
    meter = _Meter(config)
    for update, batch in enumerate(islice(stream, config.updates)):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(update, config)
        meter.add(batch, *_update(model, optimizer, batch))
        if (update + 1) % config.log_every == 0 or update + 1 == config.updates:
            on_progress(meter.report(update + 1))
    return meter.tokens, meter.last_loss


def _update(model: Qwen3ForCausalLM, optimizer: torch.optim.Optimizer, batch: Batch) -> tuple[float, int, int]:
    """One optimiser update; returns its loss, the copied digits that were right, and how many there were."""
    logits = model(input_ids=batch.ids, use_cache=False).logits
    weights = batch.weights[:, 1:]
    loss = (token_losses(logits, batch) * weights).sum() / weights.sum()
    if not math.isfinite(loss.item()):
        raise FloatingPointError(f"the pretraining loss became {loss.item()}; lower the learning rate")
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item(), *copied_right(logits.detach(), batch)


class _Meter:
    """Sums between two progress reports."""

    def __init__(self, config: PretrainConfig) -> None:
        self._config = config
        self._started = time.perf_counter()
        self.tokens = 0
        self.last_loss = math.nan
        self._reset()

    def _reset(self) -> None:
        self._losses: list[float] = []
        self._right = self._digits = self._tokens = 0
        self._since = time.perf_counter()

    def add(self, batch: Batch, loss: float, right: int, digits: int) -> None:
        self._losses.append(loss)
        self._right += right
        self._digits += digits
        self._tokens += batch.tokens
        self.tokens += batch.tokens

    def report(self, update: int) -> Progress:
        """Figures since the last report, which start afresh."""
        now = time.perf_counter()
        self.last_loss = sum(self._losses) / len(self._losses)
        progress = Progress(
            update=update,
            updates=self._config.updates,
            loss=self.last_loss,
            copy_accuracy=self._right / max(1, self._digits),
            tokens_per_second=self._tokens / (now - self._since),
            seconds_left=(now - self._started) / update * (self._config.updates - update),
        )
        self._reset()
        return progress


def _refuse_foreign_directory(output_dir: Path) -> None:
    if output_dir.exists() and not (output_dir / _REPORT_NAME).is_file():
        raise FileExistsError(f"{output_dir} exists and holds no pretrained base; give a path that does not exist yet")


def _save(
    output_dir: Path, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, report: PretrainReport
) -> None:
    """Write everything beside the target, then move it into place."""
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir.parent, prefix=f".{output_dir.name}-") as scratch:
        complete = Path(scratch) / "complete"
        model.save_pretrained(complete)
        (complete / "model.safetensors").chmod(0o644)  # written for its owner only, but packages are for everybody
        tokenizer.save_pretrained(complete)
        (complete / _REPORT_NAME).write_text(json.dumps(asdict(report), indent=2) + "\n")
        (complete / "README.md").write_text(model_card(report))
        if output_dir.exists():
            output_dir.rename(Path(scratch) / "replaced")
        complete.rename(output_dir)
