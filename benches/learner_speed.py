"""Tokens a second of one RL update, side by side in one run, on the same model and the same ragged sequences.

    python benches/learner_speed.py
    python benches/learner_speed.py --width 256 --max-length 1024 --mean-share 0.25 --threads 2
    python benches/learner_speed.py --gpu-model 1.5b

Contestants: `torch` is the loop that one would write first: rows in the order of arrival, padded, whole logits. `trl` is
TRL's GRPOTrainer, its own `train()`; only its sampling is replaced, by the batch that all have. `arrival`, `sorted` and
`packed` are our learner's rank: padded in the order of arrival, padded with neighbours in length together, and without
padding. `torch` and `arrival` pad to the longest of a micro-batch, TRL to the longest of the mini-batch. All get the same sequences, the same loss (DAPO's token mean, clipped, dual clip), AdamW, and the same number
of tokens for a forward pass at most, padding included. Each lives in a process of its own and they take turns, so that a
busy machine is busy for all; ratios are of the two updates of the same turn. The first update of each is not counted, and
the losses must agree. Tokens a second are those of the sequences: computing padding earns nothing.

On a CPU, look at CPU time where others use the machine too. On a GPU the contestants run one after another, for memory,
and the table has peak memory and the share of the GPU's arithmetic (MFU): 6 operations for each weight and token, and
those of causal attention, without padding and with the head for tokens in the loss only.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))  # `benches` is not installed

from benches.learning.contestants import CONTESTANTS, Measurement, computed_tokens, run_contestant
from benches.learning.workload import GPU_SHAPES, Settings, Shape, make_sequences, write_policy

COMPARISONS: Final = (
    ("packed", "trl", 1.5),
    ("packed", "arrival", 1.8),
    ("packed", "sorted", None),
    ("sorted", "trl", None),
    ("arrival", "trl", None),
    ("packed", "torch", None),
)
"""Which is compared with which, and how many times faster it should be."""

LOSS_TOLERANCE: Final = 1e-4
BFLOAT16_LOSS_TOLERANCE: Final = 2e-2

Results = Mapping[str, Sequence[Measurement]]
"""Of each contestant its counted updates, one for each turn."""


class BenchError(Exception):
    """The contestants cannot be compared. The message says why."""


def main() -> None:
    parser = argument_parser()
    options = parser.parse_args()
    try:
        settings = read_settings(options)
    except ValueError as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        write_policy(settings, path)
        try:
            results = compare(options.only, settings, path)
        except BenchError as error:
            sys.exit(f"learner_speed: {error}")
    print("\n".join(report(results, settings, options.peak_teraflops)))
    if options.json:
        figures = {name: [asdict(one) for one in measured] for name, measured in results.items()}
        options.json.write_text(json.dumps({"settings": asdict(settings), "updates": figures}, indent=2))


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--sequences", type=int, default=64, help="of the mini-batch")
    parser.add_argument("--max-length", type=int, help="of the longest sequence; 512, with --gpu-model 4096")
    parser.add_argument("--mean-share", type=float, default=0.5, help="mean length by longest; 0.5 is uniform")
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--micro-batch-tokens", type=int, help="8192, with --gpu-model 16384")
    parser.add_argument("--width", type=int, default=128, help="of the model, in steps of 32")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=1152)
    parser.add_argument("--threads", type=int, default=1, help="of each contestant; one works at a time")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gpu-model", choices=GPU_SHAPES, help="on a GPU, in bfloat16, a random model of this shape")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--peak-teraflops", type=float, default=989.0, help="of the GPU; H100 and H200: 989, dense")
    parser.add_argument("--json", type=Path, help="also write every update's figures here")
    return parser


def read_settings(options: argparse.Namespace) -> Settings:
    """What the command line asks for.

    Raises:
        ValueError: A GPU or TRL is wanted and is not there, or numbers do not fit together.
    """
    if "trl" in options.only and find_spec("trl") is None:
        raise ValueError("TRL is not installed: it comes with the extra `bench`; or choose others with --only")
    gpu = options.gpu_model is not None
    if gpu:
        import torch

        if not torch.cuda.is_available():
            raise ValueError(
                f"--gpu-model {options.gpu_model} needs a CUDA device, and torch {torch.__version__} has none"
            )
        shape = GPU_SHAPES[options.gpu_model]
    else:
        if options.width % 64:
            raise ValueError(f"--width {options.width} is not a multiple of 64: heads are 32 wide, two share keys")
        heads = options.width // 32
        shape = Shape(options.width, options.layers, heads, heads // 2, 32, 3 * options.width, options.vocabulary)
    return Settings(
        shape=shape,
        sequences=options.sequences,
        max_length=options.max_length or (4096 if gpu else 512),
        mean_share=options.mean_share,
        prompt_tokens=options.prompt_tokens,
        micro_batch_tokens=options.micro_batch_tokens or (16384 if gpu else 8192),
        repeats=options.repeats,
        threads=options.threads,
        seed=options.seed,
        gpu=gpu,
        gradient_checkpointing=options.gradient_checkpointing,
    )


def compare(names: Sequence[str], settings: Settings, path: Path) -> dict[str, list[Measurement]]:
    """Lets contestants take turns.

    Raises:
        BenchError: One ended early, or they do not compute the same loss.
    """
    results: dict[str, list[Measurement]] = {}
    for together in [[name] for name in names] if settings.gpu else [list(names)]:
        with contestants(together, settings, path) as pipes:
            results |= take_turns(pipes, settings.repeats)
    # Of the first update, before which all hold the same weights.
    losses = {name: measured[0].loss for name, measured in results.items()}
    # Terms of both signs cancel in the loss, so that its error is not one of its own size.
    if max(losses.values()) - min(losses.values()) > (BFLOAT16_LOSS_TOLERANCE if settings.gpu else LOSS_TOLERANCE):
        raise BenchError(f"the contestants do not compute the same loss: {losses}")
    return {name: measured[1:] for name, measured in results.items()}


@contextmanager
def contestants(names: Sequence[str], settings: Settings, path: Path) -> Iterator[dict[str, Connection]]:
    """A process for each contestant, with the pipe to it."""
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    if not settings.gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"  # Whoever imports DeepSpeed first makes it choose.
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    try:
        for name in names:
            pipes[name], theirs = context.Pipe()
            processes.append(context.Process(target=run_contestant, args=(name, settings, path, theirs), name=name))
            processes[-1].start()
            theirs.close()
        yield pipes
    finally:
        for pipe in pipes.values():
            pipe.close()
        for process in processes:
            process.join(timeout=20)
            process.kill()


def take_turns(pipes: Mapping[str, Connection], repeats: int) -> dict[str, list[Measurement]]:
    """One update of each contestant at a time, and each turn another one begins; one turn more than repeats."""
    results: dict[str, list[Measurement]] = {name: [] for name in pipes}
    names = list(pipes)
    for number in range(1 + repeats):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            results[name].append(one_update(name, pipes[name]))
    return results


def one_update(name: str, pipe: Connection) -> Measurement:
    """Grants a contestant its turn.

    Raises:
        BenchError: It has ended.
    """
    try:
        pipe.recv()
        pipe.send("go")
        measured = pipe.recv()
    except (EOFError, ConnectionError) as error:
        raise BenchError(f"{name} has ended early; its own message stands above") from error
    assert isinstance(measured, Measurement)
    return measured


def report(results: Results, settings: Settings, peak_teraflops: float) -> list[str]:
    """What was compared, tokens a second of each contestant, and ratios."""
    sequences = make_sequences(settings)
    lengths = [len(sequence) for sequence in sequences]
    tokens, loss_tokens = sum(lengths), sum(sequence.loss_tokens for sequence in sequences)
    weights = settings.shape.layer_weights + settings.shape.width * settings.shape.vocabulary
    what = (
        f"{weights / 1e6:.1f} M weights, {settings.dtype}; {len(lengths)} sequences of {min(lengths)} to {max(lengths)} "
        f"tokens, mean {tokens / len(lengths):.0f}; {settings.micro_batch_tokens} tokens a micro-batch; "
        f"{settings.repeats} repeats, {settings.threads} threads"
    )
    lines = [
        what,
        "",
        f"{'':10}{'computed':>10}{'tokens/s by the clock':>30}{'tokens/s of CPU time':>30}"
        + (f"{'MFU':>8}{'peak GiB':>10}" if settings.gpu else ""),
    ]
    for name, measured in results.items():
        line = f"{name:10}{computed_tokens(name, sequences, settings) / tokens:9.2f}x"
        line += (
            f"{spread([tokens / one.wall for one in measured]):>30}{spread([tokens / one.cpu for one in measured]):>30}"
        )
        if settings.gpu:
            seconds = statistics.median(one.wall for one in measured)
            share = settings.shape.operations(lengths, loss_tokens) / seconds / (peak_teraflops * 1e12)
            line += f"{share:8.1%}{max(one.peak_bytes for one in measured) / 2**30:10.1f}"
        lines.append(line)
    return [*lines, "", *comparisons(results, settings.gpu)]


def comparisons(results: Results, gpu: bool) -> list[str]:
    """A line for each pair that took part: how many times faster, turn by turn, and whether that is what it should be.

    Goals are judged by CPU time, where there is no GPU: the clock also counts what others do on the machine.
    """
    lines = []
    for fast, slow, goal in COMPARISONS:
        if fast in results and slow in results:
            pairs = list(zip(results[fast], results[slow], strict=True))
            by_clock = [theirs.wall / ours.wall for ours, theirs in pairs]
            by_cpu = [theirs.cpu / ours.cpu for ours, theirs in pairs]
            line = f"{fast + ' / ' + slow:18}{spread(by_clock, 2):>22} by the clock{spread(by_cpu, 2):>22} by CPU time"
            if goal is not None:
                reached = statistics.median(by_clock if gpu else by_cpu)
                line += f"   goal {goal}: {'reached' if reached >= goal else 'missed'}"
            lines.append(line)
    return lines


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, and in brackets the least and the greatest."""
    median, least, greatest = (
        f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    )
    return f"{median} ({least}–{greatest})"


if __name__ == "__main__":
    main()
