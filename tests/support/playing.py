"""A scripted model that plays one trajectory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from actors.codec import TokenizerCodec
from actors.episode import Episode, EpisodeLimits, Execute, Finished, Generate
from actors.scripted import play_script
from thor_ray.trajectory import (
    ExecutionResult,
    ExecutionStatus,
    SpanKind,
    Trajectory,
    TrajectoryBuilder,
)

PROMPT = "What is 3 + 4?\n"
LIMITS = EpisodeLimits(max_rounds=5, max_new_tokens=400, max_context=1000)
OK = ExecutionResult(ExecutionStatus.OK, "7")
FAILED = ExecutionResult(ExecutionStatus.EXCEPTION, "NameError: name 'x' is not defined", "NameError")


@dataclass
class Player:
    """Plays a transcript, what the model writes in order, against one episode."""

    codec: TokenizerCodec
    end_id: int
    executed: list[str] = field(default_factory=list)
    contexts: list[tuple[int, ...]] = field(default_factory=list)

    def tokens(self, *texts: str, end: bool = True) -> list[int]:
        """Encodes piece by piece, as a model that knows its fences would write."""
        ids = [token for text in texts for token in self.codec.encode(text)]
        return [*ids, self.end_id] if end else ids

    def builder(self, prompt: str = PROMPT) -> TrajectoryBuilder:
        return TrajectoryBuilder("t", "p", self.codec.encode(prompt))

    def play(
        self,
        written: list[int],
        limits: EpisodeLimits = LIMITS,
        run: Callable[[str], ExecutionResult] = lambda code: OK,
        builder: TrajectoryBuilder | None = None,
        version: int = 3,
    ) -> Trajectory:
        episode = Episode(builder or self.builder(), self.codec, limits)
        stream: Iterator[int] = iter(written)
        while True:
            match episode.next():
                case Generate(ids=ids, stop=stop, max_new_tokens=budget):
                    self.contexts.append(ids)
                    episode.on_generation(play_script(stream, (stop,), budget, self.codec, self.end_id, version))
                case Execute(code=code):
                    self.executed.append(code)
                    episode.on_execution(run(code))
                case Finished(reason=reason):
                    return episode.builder.finish(reason)

    def texts(self, trajectory: Trajectory, kind: SpanKind) -> list[str]:
        return [
            self.codec.decode(trajectory.ids[span.start : span.end]) for span in trajectory.spans if span.kind is kind
        ]


def failing(*codes: str) -> Callable[[str], ExecutionResult]:
    return lambda code: FAILED if code in codes else OK
