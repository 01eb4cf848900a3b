"""When to try again: pure decisions about waits, for whoever asks a server."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with jitter.

    Attributes:
        tries: How often something is tried at the most.
        first_wait_seconds: Before the second try; doubled before each further one.
        longest_wait_seconds: No wait is longer.
    """

    tries: int = 6
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 300.0

    def wait_seconds(self, failures: int, asked_for: float | None, draw: float) -> float | None:
        """How long to wait after a failure; ``None`` is to give up.

        Args:
            failures: How many there have been, this one included.
            asked_for: The wait that the server asked for, which is kept to the full.
            draw: A uniform random number from 0 to 1: clients that failed together do not come back together. Half of the
                wait is drawn.
        """
        if failures >= self.tries or (asked_for is not None and asked_for > self.longest_wait_seconds):
            return None
        doubled = self.first_wait_seconds * 2.0 ** min(failures - 1, 64)
        return max(min(doubled, self.longest_wait_seconds) * (0.5 + 0.5 * draw), asked_for or 0.0)


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """The wait that a header ``Retry-After`` asks for, in seconds or until a date; ``None`` if it says nothing readable.

    Args:
        header: Its value.
        now: With its time zone.
    """
    if header is None:
        return None
    text = header.strip()
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
