"""What in the history of a run's figures deserves a look, in plain words. Pure: no clock, no file.

A rule looks at one round and a few before it. It is silent where figures are missing, and speaks as soon as it holds;
what the same rule says of rounds in a row is one alarm. Thresholds are wide: an alarm that rings in healthy runs is
soon ignored by everyone.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thor_ray.fleet_record import FleetLook
from thor_ray.run_directory import WEIGHTS_GAP, MetricsLine

WINDOW: Final = 3
"""Rounds whose mean a rule compares, so that one odd round rings nothing."""

STAGE: Final = "rl"

Figures = Mapping[str, Any]
Rule = Callable[[Sequence[Figures], int], str | None]
"""Says what is wrong at a round, given the figures of all rounds and its position; ``None`` if nothing is."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something to look at.

    Attributes:
        kind: The rule's name.
        words: What is the matter, of its last round.
        first_round: Where it began; ``None`` for what concerns no round.
        last_round: Where it was last so.
        standing: Whether it is still so at the latest round.
    """

    kind: str
    words: str
    first_round: int | None
    last_round: int | None
    standing: bool

    @property
    def sentence(self) -> str:
        """Rounds and words in one line."""
        if self.first_round is None:
            return self.words
        rounds = f"round {self.last_round}"
        if self.first_round != self.last_round:
            rounds = f"rounds {self.first_round}–{self.last_round}"
        return f"{rounds}: {self.words}"


def alarms(lines: Iterable[MetricsLine]) -> list[Alarm]:
    """All alarms of a run, in the order in which they began.

    Args:
        lines: As ``RunDirectory.metrics`` gives them.
    """
    numbers, rounds = rounds_of(lines)
    found: list[Alarm] = []
    for kind, rule in RULES.items():
        open_alarm: Alarm | None = None
        for position, number in enumerate(numbers):
            words = rule(rounds, position)
            if words is None:
                found += [] if open_alarm is None else [open_alarm]
                open_alarm = None
            else:
                first = number if open_alarm is None else open_alarm.first_round
                open_alarm = Alarm(kind, words, first, number, standing=position == len(numbers) - 1)
        found += [] if open_alarm is None else [open_alarm]
    return sorted(found, key=lambda alarm: (alarm.first_round or 0, alarm.kind))


class AlarmBell:
    """A sink (``tracking.Sink``) that says each alarm once, when it begins.

    Args:
        earlier: What the run had recorded before; what rang then is not said again.
        say: Called with a sentence.
    """

    def __init__(self, earlier: Iterable[MetricsLine], say: Callable[[str], None]) -> None:
        self._say = say
        self._numbers, self._rounds = rounds_of(earlier)
        self._ringing = set(self._latest())

    def log(self, line: MetricsLine) -> None:
        """Takes one line into account."""
        if line.stage != STAGE or line.round is None:
            return
        while self._numbers and self._numbers[-1] > line.round:
            # A resumed run does rounds again.
            self._numbers.pop(), self._rounds.pop()
        if self._numbers and self._numbers[-1] == line.round:
            self._rounds[-1] = {**self._rounds[-1], **line.metrics}
        else:
            self._numbers.append(line.round)
            self._rounds.append(line.metrics)
        latest = self._latest()
        for kind in latest.keys() - self._ringing:
            self._say(Alarm(kind, latest[kind], line.round, line.round, standing=True).sentence)
        self._ringing = set(latest)

    def log_rollouts(self, stage: str, round_index: int, records: Path) -> None:
        """Does nothing: rules look at figures."""

    def close(self, *, succeeded: bool) -> None:
        """Does nothing: all has been said."""

    def _latest(self) -> dict[str, str]:
        position = len(self._rounds) - 1
        said = {kind: rule(self._rounds, position) for kind, rule in RULES.items()} if self._rounds else {}
        return {kind: words for kind, words in said.items() if words is not None}


def fleet_alarms(looks: Sequence[FleetLook]) -> list[Alarm]:
    """What deserves a look at the engines at the latest look; something is wrong only if it was so the time before too."""
    if len(looks) < 2:
        return []
    before, now = looks[-2:]
    if before.attempt != now.attempt:
        return []
    found = []
    for number, (old, new) in enumerate(zip(before.engines, now.engines, strict=False)):
        if not old.answers and not new.answers:
            found.append(("engine_silent", f"engine {number} does not answer"))
        elif _behind(old.version, before.learner_version) and _behind(new.version, now.learner_version):
            words = f"engine {number} serves version {new.version}, learner is at {now.learner_version}"
            found.append(("engine_behind", words))
    return [Alarm(kind, words, None, None, standing=True) for kind, words in found]


def _behind(served: int | None, learnt: int | None) -> bool:
    return served is not None and learnt is not None and served < learnt


def rounds_of(lines: Iterable[MetricsLine]) -> tuple[list[int], list[Figures]]:
    """Numbers and figures of the rounds of RL, everything that was recorded of one round together."""
    merged: dict[int, dict[str, Any]] = {}
    for line in lines:
        if line.stage == STAGE and line.round is not None:
            merged.setdefault(line.round, {}).update(line.metrics)
    numbers = sorted(merged)
    return numbers, [merged[number] for number in numbers]


def tool_calls_stopped(rounds: Sequence[Figures], now: int) -> str | None:
    """Nearly no episode runs a program any more, though in the first rounds many did."""
    before, after = _mean(rounds[:WINDOW], "code_ratio"), _before(rounds, now, "code_ratio")
    if now < 2 * WINDOW - 1 or before is None or after is None or before < 0.2 or after > 0.25 * before:
        return None
    return (
        f"the policy has stopped calling the tool: {_percent(after)} of the episodes run a program, {_percent(before)} "
        "did at first"
    )


def reward_jumped_by_format(rounds: Sequence[Figures], now: int) -> str | None:
    """The reward went up within a few rounds, and for the most part because more episodes have a box."""
    earlier = now - WINDOW
    values = [_before(rounds, position, name) for name in ("reward", "grade/no_box") for position in (earlier, now)]
    if earlier < WINDOW - 1 or any(value is None for value in values):
        return None
    reward_before, reward_now, boxless_before, boxless_now = (value for value in values if value is not None)
    gain, fall = reward_now - reward_before, boxless_before - boxless_now
    if gain < 0.2 or fall < gain / 2:
        return None
    return (
        f"reward jumped while no_box fell: reward from {reward_before:.2f} to {reward_now:.2f}, answers without a box "
        f"from {_percent(boxless_before)} to {_percent(boxless_now)}; the policy learns to answer rather than to be right"
    )


def reward_collapsed(rounds: Sequence[Figures], now: int) -> str | None:
    """The reward fell to less than half of what it was twenty rounds ago or since."""
    after = _before(rounds, now, "reward")
    start = max(WINDOW - 1, now - 20)
    past = [value for each in range(start, now) if (value := _before(rounds, each, "reward")) is not None]
    if after is None or not past or max(past) < 0.1 or after > max(past) / 2:
        return None
    return f"the reward has collapsed: {after:.2f}, after {max(past):.2f} a few rounds ago"


def nothing_learnt(rounds: Sequence[Figures], now: int) -> str | None:
    """Two rounds in a row brought the learner nothing."""
    last = rounds[max(0, now - 1) : now + 1]
    if len(last) < 2 or any(
        "episodes" not in figures or any(name.startswith("learner/") for name in figures) for figures in last
    ):
        return None
    reasons = _largest(rounds[now], "dropped/")
    return "nothing was learnt: every group was dropped" + (f" ({reasons})" if reasons else "")


def updates_skipped(rounds: Sequence[Figures], now: int) -> str | None:
    """The learner left out updates."""
    share = rounds[now].get("learner/skipped")
    return f"{_percent(share)} of the updates were skipped: loss or gradient was not finite" if share else None


def learner_disagrees(rounds: Sequence[Figures], now: int) -> str | None:
    """Engine and learner give the same tokens other log-probs than rounding explains."""
    gap = _before(rounds, now, "learner/mismatch_kl")
    if gap is None or gap < 0.02:
        return None
    return f"engine and learner disagree: {gap:.3f} nats a token; rewards are credited to a policy that did not sample"


def gap_not_finite(rounds: Sequence[Figures], now: int) -> str | None:
    """The probe of published weights gave no number."""
    figures = rounds[now]
    if WEIGHTS_GAP not in figures or figures[WEIGHTS_GAP] is not None:
        return None
    return "the probe of the published weights gave no finite log-probs"


def samples_stale(rounds: Sequence[Figures], now: int) -> str | None:
    """Importance weights leave little of the samples."""
    share = _before(rounds, now, "learner/effective_samples")
    if share is None or share > 0.3:
        return None
    return f"samples are stale: importance weights leave {_percent(share)} of the tokens"


def sandbox_fails(rounds: Sequence[Figures], now: int) -> str | None:
    """Our own failures keep programs from being run."""
    lost, calls, episodes = (rounds[now].get(name) for name in ("infra_errors", "calls", "episodes"))
    if not lost or calls is None or not episodes:
        return None
    asked = lost + calls * episodes
    if lost / asked < 0.05:
        return None
    return f"the sandbox fails: {lost} of {asked:.0f} programs were not run, which says nothing about the policy"


def grader_fails(rounds: Sequence[Figures], now: int) -> str | None:
    """The grader breaks or runs out of time too often."""
    shares = {name: rounds[now].get(f"grade/{name}") or 0.0 for name in ("timeout", "error")}
    if sum(shares.values()) < 0.05:
        return None
    told = " and ".join(f"{_percent(share)} {name}" for name, share in shares.items() if share)
    return f"the grader fails: {told} among its verdicts"


def programs_time_out(rounds: Sequence[Figures], now: int) -> str | None:
    """Many programs run into the time limit."""
    share = _before(rounds, now, "code/timeout")
    return None if share is None or share < 0.2 else f"programs hang: {_percent(share)} run into the time limit"


def cut_off(rounds: Sequence[Figures], now: int) -> str | None:
    """Many episodes run into the token limit."""
    share = _before(rounds, now, "finish/length")
    if share is None or share < 0.4:
        return None
    return f"episodes are cut off: {_percent(share)} run into the token limit"


RULES: Final[Mapping[str, Rule]] = {
    rule.__name__: rule
    for rule in (
        tool_calls_stopped,
        reward_jumped_by_format,
        reward_collapsed,
        nothing_learnt,
        updates_skipped,
        learner_disagrees,
        gap_not_finite,
        samples_stale,
        sandbox_fails,
        grader_fails,
        programs_time_out,
        cut_off,
    )
}
"""All rules, by the kind of alarm that they raise."""


def _before(rounds: Sequence[Figures], now: int, name: str) -> float | None:
    """Mean of a figure over the round and those before it, ``WINDOW`` in all; ``None`` with fewer of them."""
    return _mean(rounds[now + 1 - WINDOW : now + 1], name) if now + 1 >= WINDOW else None


def _mean(rounds: Sequence[Figures], name: str) -> float | None:
    """Mean over the rounds that have the figure; ``None`` if fewer than two have."""
    values = [figures[name] for figures in rounds if figures.get(name) is not None]
    return statistics.fmean(values) if len(values) > 1 else None


def _largest(figures: Figures, prefix: str) -> str:
    counts = {name.removeprefix(prefix): n for name, n in figures.items() if name.startswith(prefix) and n}
    return ", ".join(f"{n} {name}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
