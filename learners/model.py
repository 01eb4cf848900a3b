"""The policy as the learner sees it: token log-probs, without ever holding all logits at once."""

import inspect
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from learners.attention import PACKED
from learners.packed_row import lay_out
from learners.ulysses import SequenceGroup, register

MAX_LOGITS: Final = 2**25
"""Logits held at once, 128 MiB in float32."""


class UnsupportedModelError(ValueError):
    """The model directory cannot be trained. The message says why and what to do."""


class VocabularyProjection(nn.Module):
    """Log-probs of given tokens from hidden states, over chunks of at most ``max_logits`` logits.

    If there are several chunks, each is computed again in the backward pass, so that the bound holds there too.

    ZeRO-3 must treat this as a leaf module: it then gathers the head's weight once for all chunks. Gathering it for
    each chunk would hang or crash as soon as two ranks have different numbers of chunks.
    """

    def __init__(self, head: nn.Linear, max_logits: int) -> None:
        super().__init__()
        self.head = head
        self.max_logits = max_logits

    def forward(
        self, hidden: Tensor, targets: Tensor, temperature: float, with_entropies: bool = False
    ) -> tuple[Tensor, ...]:
        """Log-probs, and entropies if asked for, of the distribution at ``temperature``.

        Args:
            hidden: ``[tokens, width]``.
            targets: int64 ``[tokens]``.
            temperature: Logits are divided by it.
            with_entropies: Also give the entropy of each token's distribution.

        Returns:
            ``[tokens]`` each: log-probs of ``targets``, and entropies in nats; float32, or float64 for a policy in it.
        """
        rows = max(1, self.max_logits // self.head.out_features)
        if len(targets) <= rows:
            return self._chunk(hidden, targets, temperature, with_entropies)
        # Not the reentrant kind: gradient hooks of ZeRO must fire once per parameter, not once per chunk.
        chunks = [
            checkpoint(self._chunk, part, target, temperature, with_entropies, use_reentrant=False)
            for part, target in zip(hidden.split(rows), targets.split(rows), strict=True)
        ]
        return tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))

    def _chunk(self, hidden: Tensor, targets: Tensor, temperature: float, with_entropies: bool) -> tuple[Tensor, ...]:
        # Not a call of the head, whose own ZeRO-3 hooks would gather its weight.
        logits = nn.functional.linear(hidden, self.head.weight, self.head.bias)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if temperature != 1:  # A pass over all logits, and another one over their gradients.
            logits = logits / temperature
        distribution = logits.log_softmax(-1)
        log_probs = -nn.functional.nll_loss(distribution, targets, reduction="none")
        if not with_entropies:
            return (log_probs,)
        return log_probs, -torch.linalg.vecdot(distribution.exp(), distribution)


class TokenLogProbs(nn.Module):
    """Wraps a causal language model; its forward pass returns log-probs of the tokens in the loss, and no logits.

    Only positions that the loss asks for are projected onto the vocabulary. The whole computation lies inside this
    module's ``forward``, because ZeRO-3 gathers parameters only there.

    Args:
        policy: The model.
        max_logits: Logits held at once.
        group: The ranks that share each packed row; ``None`` if each has rows of its own.
    """

    def __init__(
        self, policy: PreTrainedModel, max_logits: int = MAX_LOGITS, group: SequenceGroup | None = None
    ) -> None:
        super().__init__()
        self.policy = policy
        self.group = group
        self.projection = VocabularyProjection(policy.get_output_embeddings(), max_logits)

    def forward(
        self,
        ids: Tensor,
        loss_mask: Tensor,
        temperature: float = 1.0,
        with_entropies: bool = False,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Log-probs, and entropies if asked for, of the masked-in tokens.

        Args:
            ids: int64 ``[rows, length]``, padded on the right.
            loss_mask: bool ``[rows, length]``; the first column is all false.
            temperature: Logits are divided by it, as the engine did when it sampled.
            with_entropies: Also give the entropy of the distribution that each token was drawn from.
            lengths: int64 ``[rows]``, without padding. The model then computes nothing for padding: it gets one row
                in which the sequences lie one after the other, each counting its positions from 0. Needs a policy
                that was loaded for packing.

        Returns:
            ``[rows, length]`` each: at ``[i, t]`` of token ``t`` given those before it, 0 where masked out. Log-probs,
            and entropies in nats; float32, or float64 for a policy in it.
        """
        found = (
            self.projection(self._predicting(ids, loss_mask), ids[loss_mask], temperature, with_entropies)
            if lengths is None
            else self._packed(ids, loss_mask, lengths, temperature, with_entropies)
        )
        return tuple(values.new_zeros(ids.shape).masked_scatter(loss_mask, values) for values in found)

    def _predicting(self, ids: Tensor, loss_mask: Tensor) -> Tensor:
        """Hidden states ``[tokens in the loss, width]`` that predict them.

        No attention mask is needed: padding is on the right, where causal attention does not look.
        """
        hidden: Tensor = self.policy.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return hidden[:, :-1][loss_mask[:, 1:]]

    def _packed(
        self, ids: Tensor, loss_mask: Tensor, lengths: Tensor, temperature: float, with_entropies: bool
    ) -> tuple[Tensor, ...]:
        """The same as for padded rows by way of a single one: ``[tokens in the loss]`` each, row by row."""
        group = self.group
        row = lay_out(ids, loss_mask, lengths, 1 if group is None else group.size)
        whole = (row.ids, row.positions, row.predicts, row.targets)
        own_ids, positions, predicts, targets = whole if group is None else map(group.own_slice, whole)
        hidden: Tensor = self.policy.base_model(
            input_ids=own_ids.unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            use_cache=False,
            cu_seq_lens_q=row.starts,
            cu_seq_lens_k=row.starts,
            max_length_q=row.longest,
            max_length_k=row.longest,
        ).last_hidden_state
        found = self.projection(hidden[0][predicts], targets[predicts], temperature, with_entropies)
        if group is None:
            return tuple(found)
        slices = [values.new_zeros(len(own_ids)).masked_scatter(predicts, values) for values in found]
        return tuple(group.gather(values)[row.predicts] for values in slices)


def load_policy(
    path: Path,
    dtype: torch.dtype,
    *,
    gradient_checkpointing: bool,
    packing: bool = False,
    group: SequenceGroup | None = None,
) -> PreTrainedModel:
    """Reads a Hugging Face model directory.

    Args:
        path: The directory.
        dtype: Of the weights.
        gradient_checkpointing: Trade a second forward pass for memory.
        packing: Load it for rows that hold several sequences.
        group: The ranks that share each of those rows, if several do.

    Raises:
        UnsupportedModelError: it is not a model directory, has dropout, changes its logits after the head, or cannot
            keep packed sequences apart.
        HeadCountError: its heads cannot be dealt to the group.
    """
    if not (path / "config.json").is_file():
        raise UnsupportedModelError(f"{path} is not a Hugging Face model directory: it has no config.json")
    config = AutoConfig.from_pretrained(path)
    refuse_unsupported(config)
    packed = PACKED if group is None else register(config, group)
    policy = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation=packed if packing else None)
    if packing:
        refuse_unpackable(policy)
    return prepare(policy, gradient_checkpointing=gradient_checkpointing)


def rebuild_policy(
    like: PreTrainedModel, parameters: dict[str, Tensor], *, gradient_checkpointing: bool
) -> PreTrainedModel:
    """A fresh model of the same architecture and dtype that holds ``parameters``.

    Args:
        like: Gives configuration and dtype; its own parameters may be sharded.
        parameters: Full tensors under the names of ``named_parameters``.
        gradient_checkpointing: Trade a second forward pass for memory.
    """
    attention = like.config._attn_implementation  # noqa: SLF001 - transformers has no public name for it
    policy = AutoModelForCausalLM.from_config(like.config, dtype=like.dtype, attn_implementation=attention)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            parameter.copy_(parameters[name])
    return prepare(policy, gradient_checkpointing=gradient_checkpointing)


def refuse_unsupported(config: AutoConfig) -> None:
    """Raises ``UnsupportedModelError`` for what would make log-probs differ from the engine's without a word."""
    dropout = {name: value for name, value in vars(config).items() if name.endswith(("dropout", "pdrop")) and value}
    if dropout:
        raise UnsupportedModelError(f"the model has dropout {dropout}; set it to 0 in its config.json")
    capping = getattr(config, "final_logit_softcapping", None)
    if capping:
        raise UnsupportedModelError(f"final_logit_softcapping {capping} is not supported: log-probs would ignore it")


def refuse_unpackable(policy: PreTrainedModel) -> None:
    """Raises ``UnsupportedModelError`` for layers through which packed sequences would see each other."""
    kinds = set(getattr(policy.config, "layer_types", None) or ()) - {"full_attention"}
    if kinds:
        raise UnsupportedModelError(
            f"packing needs full attention in every layer, and this model has {', '.join(sorted(kinds))}; "
            "set learner.packing: false"
        )
    if "position_ids" not in inspect.signature(policy.base_model.forward).parameters:
        raise UnsupportedModelError(
            f"packing needs positions that begin anew with each sequence, which {type(policy).__name__} does not take; "
            "set learner.packing: false"
        )


def prepare(policy: PreTrainedModel, *, gradient_checkpointing: bool) -> PreTrainedModel:
    """Sets the model up for training."""
    if gradient_checkpointing:
        policy.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy.train()
    return policy
