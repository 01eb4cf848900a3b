"""The repetition guard: a policy that loops is not rewarded, whatever its last box says."""

from collections import Counter

WINDOW = 50
LIMIT = 20


def has_degenerate_repetition(text: str, window: int = WINDOW, limit: int = LIMIT) -> bool:
    """Whether some substring of ``window`` characters occurs more than ``limit`` times.

    Occurrences may overlap, so a run of one character counts as well. Source: THOR's reward (spec D.2 and
    H.1, step 1). Linear in the length of the text: substrings are counted by their hashes, and only those
    whose hash passes the limit are kept and compared themselves.

    Args:
        text: The response.
        window: Length of the substring in characters, at least 1.
        limit: Highest number of occurrences that is still accepted, at least 1.

    Raises:
        ValueError: ``window`` or ``limit`` is below 1.
    """
    if window < 1 or limit < 1:
        raise ValueError(f"window and limit must be at least 1, got window={window}, limit={limit}")
    starts = range(len(text) - window + 1)
    if len(starts) <= limit:
        return False
    counts = Counter(hash(text[start : start + window]) for start in starts)
    suspicious = {value for value, count in counts.items() if count > limit}
    if not suspicious:
        return False
    # Hashes can collide, so the verdict rests on the substrings themselves.
    substrings = (text[start : start + window] for start in starts)
    exact = Counter(substring for substring in substrings if hash(substring) in suspicious)
    return max(exact.values()) > limit
