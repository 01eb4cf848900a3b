"""A reward model in a directory: a transformers sequence classifier with one label, whose logit is the score.

This is the form in which outcome reward models are shared (`AutoModelForSequenceClassification`, ``num_labels`` 1).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from thor_ray.evaluation.reward_models.interface import Conversation, RewardModelError

BATCH_SIZE: Final = 8
"""Conversations that are scored in one forward pass, unless told otherwise."""


class RewardClassifier:
    """A sequence classifier on this machine's GPU, where it has one, else on its CPU.

    Conversations are rendered by the tokenizer's chat template; without one, question and response stand on lines of
    their own.

    Args:
        path: A Hugging Face model directory.
        batch_size: Conversations of one forward pass; always one for a model that knows no padding.

    Raises:
        RewardModelError: the directory holds no trained classifier with one label, or no tokenizer.
        ValueError: ``batch_size`` is not positive.
    """

    def __init__(self, path: Path, batch_size: int = BATCH_SIZE) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}")
        self._path = path
        self._batch_size = batch_size
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._tokenizer = _tokenizer(path)
        self._model = _classifier(path, self._device)
        self._pad_token: int | None = self._model.config.get_text_config().pad_token_id
        if self._pad_token is None:
            # Decoders find a conversation's last token by what is no padding; without any they take the very last.
            self._batch_size = 1

    @property
    def name(self) -> str:
        """The directory."""
        return str(self._path)

    def scores(self, conversations: Sequence[Conversation]) -> list[float]:
        """One logit each, in order; see `RewardModel.scores`.

        Raises:
            RewardModelError: a conversation is longer than the model can read, or its logit is no number.
        """
        sequences = [self._encode(conversation) for conversation in conversations]
        # Of like lengths, so that little is padding; the order of the logits is put right afterwards.
        order = sorted(range(len(sequences)), key=lambda position: len(sequences[position]))
        scores = [0.0] * len(sequences)
        for start in range(0, len(order), self._batch_size):
            positions = order[start : start + self._batch_size]
            for position, score in zip(positions, self._logits([sequences[p] for p in positions]), strict=True):
                scores[position] = score
        return scores

    def _encode(self, conversation: Conversation) -> list[int]:
        if self._tokenizer.chat_template is None:
            text, rendered = f"{conversation.question}\n{conversation.response}", False
        else:
            text, rendered = self._tokenizer.apply_chat_template(conversation.messages, tokenize=False), True
        # A chat template has written all special tokens itself.
        ids: list[int] = self._tokenizer(text, add_special_tokens=not rendered)["input_ids"]
        limit = getattr(self._model.config, "max_position_embeddings", None)
        if limit is not None and len(ids) > limit:
            raise RewardModelError(
                f"a conversation of {len(ids)} tokens does not fit the reward model in {self._path}, which reads {limit}",
                "choose one with a longer context",
            )
        return ids

    def _logits(self, sequences: Sequence[list[int]]) -> list[float]:
        longest = max(map(len, sequences))
        padding = [longest - len(sequence) for sequence in sequences]
        padded = [sequence + [self._pad_token or 0] * more for sequence, more in zip(sequences, padding, strict=True)]
        mask = [[1] * (longest - more) + [0] * more for more in padding]
        with torch.inference_mode():
            ids, attended = (torch.tensor(rows, device=self._device) for rows in (padded, mask))
            logits = self._model(input_ids=ids, attention_mask=attended).logits.squeeze(-1).float()
        if not torch.isfinite(logits).all():
            raise RewardModelError(f"the reward model in {self._path} gives scores that are no numbers")
        scores: list[float] = logits.tolist()
        return scores


def _tokenizer(path: Path) -> Any:
    if not path.is_dir():
        raise RewardModelError(f"there is no directory {path}", _REMEDY)
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise RewardModelError(f"{path} holds no tokenizer: {_first_line(error)}", _REMEDY) from error


def _classifier(path: Path, device: torch.device) -> Any:
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        if config.num_labels != 1:
            raise RewardModelError(
                f"the classifier in {path} has {config.num_labels} labels, a reward model has one", _REMEDY
            )
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            path,
            config=config,
            local_files_only=True,
            dtype="auto" if device.type == "cuda" else torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise RewardModelError(f"{path} holds no sequence classifier: {_first_line(error)}", _REMEDY) from error
    if missing := sorted(loading["missing_keys"]):
        # A language model loads as a classifier, too, with a head of random numbers.
        raise RewardModelError(f"{path} holds no trained classifier: it lacks {', '.join(missing)}", _REMEDY)
    return model.eval().to(device)


_REMEDY: Final = "name the directory of a transformers sequence classifier with one label (num_labels 1)"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
