"""What a pretrained base can do on held-out problems without tools."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from thor_ray.dialogue import render_prompt
from thor_ray.problems import Problem
from thor_ray.tiny.batches import Batch, collate, encode_documents
from thor_ray.tiny.corpus import solution_document

_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class BaseEvaluation:
    """Figures of a base model on held-out problems; all shares lie in [0, 1].

    Attributes:
        problems: How many problems.
        loss: Mean cross-entropy over the tokens of the worked solutions, in nats.
        copy_accuracy: Teacher-forced top-1 accuracy on the digits of restated operands.
        claims: Share of greedy solutions whose claims have the right operation and operands, whatever the results.
        pass_at_1: Share of greedy solutions whose boxed answer is right.
        pass_at_1_by_family: The same for each family.
        claims_by_family: ``claims`` for each family.
    """

    problems: int
    loss: float
    copy_accuracy: float
    claims: float
    pass_at_1: float
    claims_by_family: dict[str, float]
    pass_at_1_by_family: dict[str, float]


def evaluate_base(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[Problem],
    *,
    batch_size: int = 128,
    max_new_tokens: int = 160,
) -> BaseEvaluation:
    """Measure loss, copying, claims and greedy answers on problems with worked solutions.

    Raises:
        ValueError: There are no problems, or one has no worked solution.
    """
    if not problems:
        raise ValueError("no problems to evaluate on")
    loss, copy_accuracy = _teacher_forced(model, tokenizer, problems, batch_size)
    solutions = write_solutions(model, tokenizer, problems, batch_size=batch_size, max_new_tokens=max_new_tokens)
    claims: dict[str, list[bool]] = defaultdict(list)
    passed: dict[str, list[bool]] = defaultdict(list)
    for problem, solution in sorted(zip(problems, solutions, strict=True), key=lambda pair: pair[0].source):
        family = problem.source.removeprefix("families/")
        claims[family].append(claims_are_right(problem, solution))
        passed[family].append(boxed_answer(solution) == problem.answer)
    return BaseEvaluation(
        problems=len(problems),
        loss=loss,
        copy_accuracy=copy_accuracy,
        claims=_mean([right for family in claims.values() for right in family]),
        pass_at_1=_mean([right for family in passed.values() for right in family]),
        claims_by_family={family: _mean(rights) for family, rights in claims.items()},
        pass_at_1_by_family={family: _mean(rights) for family, rights in passed.items()},
    )


@torch.no_grad()
def write_solutions(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[Problem],
    *,
    batch_size: int = 128,
    max_new_tokens: int = 160,
    temperature: float = 0.0,
) -> list[str]:
    """Continue each problem's prompt up to the end of text, greedily at temperature 0, sampled otherwise."""
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {"do_sample": False}
    solutions: list[str] = []
    for start in range(0, len(problems), batch_size):
        prompts = [render_prompt("bare", problem.question) for problem in problems[start : start + batch_size]]
        inputs = tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt")
        outputs = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=max_new_tokens,
            **sampling,
        )
        solutions += tokenizer.batch_decode(outputs[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return solutions


def boxed_answer(solution: str) -> str | None:
    """Content of the last ``\\boxed{...}`` without inner braces, or None."""
    found = _BOXED.findall(solution)
    return found[-1] if found else None


def claims_are_right(problem: Problem, solution: str) -> bool:
    """Whether a solution makes the claims of the problem's worked solution, up to their results.

    A later claim takes up the result of an earlier one; what counts is then the result that this solution claims.
    """
    wanted = _claims(problem.solution or "")
    written = _claims(solution)
    if len(wanted) != len(written):
        return False
    for position, (gold, claim) in enumerate(zip(wanted, written, strict=True)):
        left, _, _ = gold.rpartition(" = ")
        if position > 0:
            _, _, gold_result = wanted[position - 1].rpartition(" = ")
            _, _, claimed_result = written[position - 1].rpartition(" = ")
            left = re.sub(rf"(?<!\d){re.escape(gold_result)}(?!\d)", claimed_result, left)
        if claim.rpartition(" = ")[0] != left:
            return False
    return True


def _claims(solution: str) -> list[str]:
    """The lines between the restatement and the answer."""
    return solution.split("\n")[1:-1]


@torch.no_grad()
def _teacher_forced(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, problems: Sequence[Problem], batch_size: int
) -> tuple[float, float]:
    """Mean loss over solution tokens, and accuracy on the restated operands' digits."""
    encoded = encode_documents(tokenizer, [solution_document(problem) for problem in problems])
    loss_sum = weight_sum = 0.0
    right = digits = 0
    for start in range(0, len(encoded), batch_size):
        batch = collate(encoded[start : start + batch_size], tokenizer.pad_token_id, given_weight=0.0)
        logits = model(input_ids=batch.ids, use_cache=False).logits
        loss_sum += float((token_losses(logits, batch) * batch.weights[:, 1:]).sum())
        weight_sum += float(batch.weights[:, 1:].sum())
        batch_right, batch_digits = copied_right(logits, batch)
        right += batch_right
        digits += batch_digits
    return loss_sum / weight_sum, right / digits


def token_losses(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy of each token but the first, ``[documents, length - 1]``, from logits ``[documents, length, V]``."""
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch.ids[:, 1:].flatten(), reduction="none"
    ).view(batch.ids.shape[0], -1)


def copied_right(logits: torch.Tensor, batch: Batch) -> tuple[int, int]:
    """How many of the restated digits are the most likely token, and how many there are."""
    mask = batch.copied_digits[:, 1:]
    hits = (logits[:, :-1].argmax(-1) == batch.ids[:, 1:]) & mask
    return int(hits.sum()), int(mask.sum())


def _mean(rights: Sequence[bool]) -> float:
    return sum(rights) / len(rights)
