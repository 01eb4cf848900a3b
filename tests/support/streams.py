"""A stream under random events, and what must be true of it after each (docs/stream.md)."""

import json
from collections import Counter
from random import Random

from thor_ray.stream import (
    ConcurrencyRule,
    EnginePressure,
    EngineScheduler,
    GroupState,
    Part,
    ProblemCursor,
    RolloutCoordinator,
    StreamConfig,
    TrajectoryStream,
    restore_stream,
    stream_state,
)


class Harness:
    """Engines, a learner and a disk around a coordinator; every method is one event."""

    def __init__(self, config: StreamConfig, problems: int = 7) -> None:
        self.config = config
        self.born = 0
        self.learnt: list[str] = []
        """What the learner's weights have seen: it goes back with a checkpoint, as weights do."""
        self.saved: tuple[str, list[str]] | None = None
        self.taken: list[str] = []
        self.revive(TrajectoryStream(config, ProblemCursor(problems, seed=3)))
        self.save()

    def revive(self, stream: TrajectoryStream) -> None:
        self.stream = stream
        self.rollouts = RolloutCoordinator(stream, EngineScheduler(ConcurrencyRule(2, 1, 6)))
        self.engines: list[str] = []
        self.partials: dict[str, dict[int, int]] = {}
        self.late: list[tuple[str, str]] = []
        self.taken = []
        for _ in range(3):
            self.join()

    def join(self) -> None:
        if len(self.engines) < 5:
            name = f"e{self.born}"
            self.born += 1
            self.engines.append(name)
            self.rollouts.engine_joined(name)

    def lose(self, random: Random) -> None:
        if self.engines:
            name = self.engines.pop(random.randrange(len(self.engines)))
            self.late += [(uid, name) for uid in sorted(self.rollouts.scheduler.running(name))]
            self.rollouts.engine_lost(name)
            self.rollouts.engine_lost(name)

    def start(self) -> None:
        for order in self.rollouts.start():
            assert order.engine in self.engines
            self.partials[order.ticket.uid] = dict(order.ticket.partial.versions) if order.ticket.partial else {}
            self.sample(order.ticket.uid)

    def sample(self, uid: str) -> Part:
        """One more token by the weights that are served now."""
        versions = self.partials[uid]
        versions[self.stream.version] = versions.get(self.stream.version, 0) + 1
        return Part(f"store/{uid}", dict(versions))

    def pick(self, random: Random) -> tuple[str, str] | None:
        running = [(uid, name) for name in self.engines for uid in sorted(self.rollouts.scheduler.running(name))]
        return random.choice(running) if running else None

    def ends(self, random: Random) -> None:
        """A running group finishes, is filtered, fails or is suspended."""
        if (found := self.pick(random)) is None:
            return
        uid, engine = found
        match random.choices(("finished", "filtered", "failed", "suspended"), (6, 2, 1, 2))[0]:
            case "finished":
                self.rollouts.finished(uid, engine, self.sample(uid))
            case "filtered":
                assert self.rollouts.filtered(uid, engine, "zero_variance")
            case "failed":
                self.rollouts.failed(uid, engine)
            case _:
                self.rollouts.suspended(uid, engine, self.sample(uid))

    def late_samples(self, random: Random) -> None:
        """An engine that was given up delivers after all; nothing may come of it."""
        if self.late:
            uid, engine = random.choice(self.late)
            before = stream_state(self.stream)
            assert not self.rollouts.finished(uid, engine, Part("late", {0: 1}))
            assert stream_state(self.stream) == before

    def pressure(self, random: Random) -> None:
        if self.engines:
            pressure = EnginePressure(random.random(), preemptions=random.random() < 0.2)
            self.rollouts.pressure(random.choice(self.engines), pressure)

    def take(self) -> None:
        if self.taken or self.stream.unpublished:
            return
        groups = self.stream.take()
        self.taken = [group.uid for group in groups]
        for group in groups:
            assert self.stream.version - group.samples.oldest_version <= self.config.max_staleness, "staleness"
        if groups:
            expiring = [
                each.ticket.uid
                for each in self.stream.in_flight.values()
                if each.state is GroupState.READY
                and each.oldest_version is not None
                and self.config.too_old(each.oldest_version, self.stream.version + 1)
            ]
            assert not expiring, "finished work would be dropped for its age"

    def learn(self, random: Random) -> None:
        if self.taken:
            skipped = {uid: "non_finite_loss" for uid in self.taken if random.random() < 0.1}
            self.learnt += [uid for uid in self.taken if uid not in skipped]
            self.stream.settle(skipped)
            self.taken = []

    def publish(self) -> None:
        if self.stream.unpublished:
            for order in self.rollouts.published(self.stream.version + 1):
                assert order.engine in self.engines
                assert not order.keep

    def save(self) -> None:
        self.saved = (json.dumps(stream_state(self.stream)), list(self.learnt))

    def kill(self) -> None:
        """Everything is lost but the last checkpoint."""
        assert self.saved is not None
        state, self.learnt = self.saved[0], list(self.saved[1])
        self.revive(restore_stream(self.config, json.loads(state)))
        assert json.dumps(stream_state(self.stream)) == json.dumps(
            stream_state(restore_stream(self.config, json.loads(state)))
        )

    def check(self) -> None:
        stream, config = self.stream, self.config
        trained = sorted(stream.trained)
        dropped = [drop.sequence for drop in stream.drops]
        in_flight = [group.ticket.sequence for group in stream.in_flight.values()]
        assert sorted([*trained, *dropped, *in_flight]) == list(range(stream.admitted)), "lost, or counted twice"
        assert sorted(self.learnt) == [f"g{sequence:06d}" for sequence in trained], "not trained exactly once"
        assert all(drop.reason for drop in stream.drops), "dropped without a reason"
        assert len(stream.in_flight) + stream.unpublished <= config.window, "admission inequality"
        states = Counter(group.state for group in stream.in_flight.values())
        assert all(stream.count(state) == states[state] for state in GroupState)
        scheduler = self.rollouts.scheduler
        on_engines = [uid for name in self.engines for uid in scheduler.running(name)]
        running = [uid for uid, group in stream.in_flight.items() if group.state is GroupState.RUNNING]
        assert sorted(on_engines) == sorted(running), "stream and scheduler disagree"
        assert scheduler.queued == states[GroupState.WAITING]
        room = sum(max(0, scheduler.limit(name) - len(scheduler.running(name))) for name in self.engines)
        assert scheduler.free == room

    def finish(self, random: Random) -> None:
        """Goes on, with nothing but good news, until the stream is done."""
        for _ in range(10_000):
            if self.stream.done and not self.stream.unpublished:
                return
            self.join()
            self.start()
            if (found := self.pick(random)) is not None:
                self.rollouts.finished(*found, self.sample(found[0]))
            self.take()
            self.learn(random)
            self.publish()
        raise AssertionError("the stream does not come to its end")
