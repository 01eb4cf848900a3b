"""The tiny policy's tokenizer: byte-level BPE with single digits and the dialogue's fences as single tokens."""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from thor_ray.dialogue import ACTION_CLOSE, ACTION_OPEN, OBSERVATION_CLOSE, OBSERVATION_OPEN

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|pad|>"
FENCES = (ACTION_OPEN, OBSERVATION_OPEN, OBSERVATION_CLOSE, ACTION_CLOSE)
"""Single tokens, not special: decoding keeps them even where special tokens are skipped."""

VOCABULARY_SIZE = 1152
CONTEXT_LENGTH = 2048

# A space before a number belongs to the token on its left, because digits are always tokens of their own; it would
# cost one token a number otherwise. A dotted name with its opening bracket, `math.gcd(`, is one word.
_SPACE_BEFORE_NUMBER = r"(?: (?=\p{N}))?"
_WORD = r" ?\\?[\p{L}_]+(?:\.[\p{L}_]+)*[({]?" + _SPACE_BEFORE_NUMBER
_PUNCTUATION = r" ?[^\s\p{L}\p{N}_]+" + _SPACE_BEFORE_NUMBER
_PIECES = rf"[\r\n]+ *|{_WORD}|{_PUNCTUATION}|\p{{N}}|\s+"


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Learn a vocabulary of at most ``VOCABULARY_SIZE`` tokens; deterministic for the same texts.

    Every text without ``<|endoftext|>``-like specials survives an encode-decode round trip, because bytes are the
    alphabet. Fences are found before anything else, the leftmost first and the longest at one place. Spans of a
    trajectory must be encoded one by one: in ``"\\n```python\\n"`` the leftmost fence is ``"\\n```"``, and a closing
    fence directly followed by an observation reads ``"\\n```\\n"``.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(FENCES),
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(fence, normalized=False, special=False) for fence in FENCES])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=PADDING,
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
