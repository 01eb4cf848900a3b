"""The model card that is written beside a pretrained base."""

from typing import TYPE_CHECKING

from thor_ray.tiny.corpus import CORPUS_FAMILIES

if TYPE_CHECKING:
    from thor_ray.tiny.pretrain import PretrainReport

_CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [mathematics, tiny, pretrained-from-scratch]
---

# The tiny policy's base

A Qwen3-architecture language model of {parameters:,} parameters ({layers} layers, hidden size 128, 4 heads of 32 over 2
key-value heads, tied embeddings, {vocabulary} tokens), trained from nothing on one CPU so that THOR-Ray's whole loop runs
on a laptop. It writes short worked solutions: it restates a problem's numbers and says what has to be computed, then
guesses the result. It has never seen a program, a tool call or a fence: these are learnt in the cold start.

## Data

Generated, endless and seeded: worked solutions of the train split of the {families} problem families in
`thor_ray.problems` (seven of ten documents; one of eight of these with unrelated arithmetic in between), number-copying
drills and sums (three of ten), see `thor_ray/tiny/corpus.py`. No program, no tool output, no web text. The tokenizer is
a byte-level BPE trained on a sample of these documents and on short programs and interpreter messages
(`thor_ray/tiny/code_words.py`), which the model has not read. Digits are single tokens; the fences of tool calls are
single tokens, not special.

## Made with

```
thor tiny pretrain OUTPUT --seed {seed} --updates {updates} --batch-size {batch_size}
```

{updates:,} updates of {batch_size} documents ({tokens:,} tokens), AdamW (betas 0.9 and 0.95), learning rate
{learning_rate:g}, seed {seed}, {seconds:.0f} s on {threads} CPU thread(s). The same seed on one thread of the same
machine gives the same bits. Every setting is in `pretrain.json`.

## Figures

On {problems} held-out problems, whose instances and phrasing are both absent from training:

| figure | value |
|---|---|
| loss on worked solutions (nats a token) | {loss:.4f} |
| teacher-forced accuracy on the digits of restated operands | {copy_accuracy:.4f} |
| greedy solutions whose claims have the right operation and operands | {claims:.3f} |
| greedy pass@1, without tools | {pass_at_1:.3f} |

| family | right claims | pass@1 |
|---|---|---|
{by_family}

## Limits

It knows {families} kinds of questions in English and nothing else; on other text it babbles. Results of computations
are guesses: that is the point, tools supply them. Numbers beyond those of the families (more than about six digits in a
question) are copied less reliably, and contexts beyond a few hundred tokens were never trained on.
"""


def model_card(report: "PretrainReport") -> str:
    """The card of a pretrained base in Markdown; every figure comes from the report."""
    config, evaluation = report.config, report.evaluation
    by_family = "\n".join(
        f"| {family} | {claims:.3f} | {evaluation.pass_at_1_by_family[family]:.3f} |"
        for family, claims in evaluation.claims_by_family.items()
    )
    return _CARD.format(
        parameters=report.parameters,
        layers=config.layers,
        vocabulary=report.vocabulary,
        families=len(CORPUS_FAMILIES),
        seed=config.seed,
        updates=config.updates,
        batch_size=config.batch_size,
        tokens=report.tokens,
        learning_rate=config.learning_rate,
        seconds=report.seconds,
        threads=config.threads,
        problems=evaluation.problems,
        loss=evaluation.loss,
        copy_accuracy=evaluation.copy_accuracy,
        claims=evaluation.claims,
        pass_at_1=evaluation.pass_at_1,
        by_family=by_family,
    )
