"""Between text and token ids, for the few places where text enters or leaves a trajectory."""

import copy
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from jinja2 import TemplateError
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from thor_ray.dialogue import PROMPT_TEMPLATES, PromptFrame, prompt_frame
from thor_ray.errors import UserError

PROMPT_DATE: Final = datetime(2024, 7, 26)
"""The day that chat templates take for today. A real one would change the prompt overnight, between training and
evaluation too; this is what Llama's say where they know of no clock."""


class Codec(Protocol):
    """What a trajectory needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text`` alone: nothing is added, and no text can produce a special token."""

    def encode_prompt(self, template: str, question: str) -> list[int]:
        """Token ids of the prompt that puts ``question`` by a template of `thor_ray.dialogue.PROMPT_TEMPLATES`."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids``, special tokens left out."""


class TokenizerCodec:
    """A Hugging Face tokenizer as a `Codec`.

    Special tokens are never read out of text: a program that prints the policy's end-of-sequence marker, or a problem
    that quotes it, must not be able to end a turn. Fences may still be single tokens, since those are ordinary ones.
    Only what a prompt template itself has written around a question is read with its special tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._backend = _copy_of(tokenizer, special_tokens_are_text=True)
        self._frame_backend = _copy_of(tokenizer, special_tokens_are_text=False)
        self._end_of_sequence: int | None = tokenizer.eos_token_id
        self._specials = [added.content for added in self._backend.get_added_tokens_decoder().values() if added.special]
        self._text_start = _start_of_texts(tokenizer)
        self._frames: dict[str, PromptFrame] = {}

    @property
    def end_of_sequence(self) -> int:
        """The token that ends the policy's turn.

        Raises:
            ValueError: the tokenizer has none.
        """
        if self._end_of_sequence is None:
            raise ValueError("the tokenizer has no end-of-sequence token, so a turn could never end")
        return self._end_of_sequence

    @classmethod
    def from_directory(cls, path: str) -> "TokenizerCodec":
        """The codec of the model in a Hugging Face directory."""
        return cls(PreTrainedTokenizerFast.from_pretrained(path))

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def encode_prompt(self, template: str, question: str) -> list[int]:
        """Token ids of a prompt, as the policy reads them in training, evaluation and use alike.

        They are those of the whole text, so that tokens may span the borders of the question, unless the question
        quotes a special token: then its own text is tokenised apart, and the quotation stays text.

        Raises:
            UserError: the policy has no chat template, or one that cannot be used.
        """
        frame = self.prompt_frame(template)
        start = [] if PROMPT_TEMPLATES[template].chat else self._text_start
        if any(special in question for special in self._specials):
            ids = [*self._read_frame(frame.before), *self.encode(question), *self._read_frame(frame.after)]
        else:
            ids = self._read_frame(frame.around(question))
        return start + ids

    def prompt_frame(self, template: str) -> PromptFrame:
        """What stands around the question in this policy's prompts, special tokens spelt out.

        Not in it is the beginning-of-sequence token that some tokenizers set before every text, plain prompts included.

        Raises:
            UserError: the policy has no chat template, or one that cannot be used.
        """
        if template not in self._frames:
            try:
                self._frames[template] = prompt_frame(template, self._chat_prompt)
            except ValueError as error:
                raise UserError(f"policy.template {template} cannot be used: {error}", _OTHER_TEMPLATES) from error
        return self._frames[template]

    def encode_conversation(self, turns: Sequence[tuple[str, str]]) -> list[int]:
        """Token ids of a conversation, roles with contents, up to the assistant's first token; thinking is off.

        A tokenizer without a chat template gets a plain transcript. Special tokens that a content quotes are spelt with a
        space inside, so that no content can end a turn.

        Raises:
            ValueError: the chat template refuses the conversation.
        """
        harmless = [(role, self._without_specials(content)) for role, content in turns]
        if self._tokenizer.chat_template is not None:
            return self._read_frame(self._apply_chat_template(harmless, generate=True))
        transcript = "".join(f"{role.capitalize()}: {content}\n\n" for role, content in harmless)
        return self._text_start + self._read_frame(f"{transcript}Assistant:")

    def spell(self, ids: Sequence[int]) -> str:
        """Text of ``ids`` with special tokens spelt out, for servers that tokenise prompts on their own.

        Without a beginning-of-sequence token in front, which such servers set themselves.
        """
        start = self._text_start if list(ids[: len(self._text_start)]) == self._text_start else []
        text: str = self._backend.decode(list(ids[len(start) :]), skip_special_tokens=False)
        return text

    def chat_turn_end(self) -> str | None:
        """What the chat template writes behind an answer, ``None`` where there is none or it has no answers.

        It should begin with the end-of-sequence token, or with one that the model's generation configuration has as well;
        else a policy that was tuned on the chat template does not know how to end its turn.
        """
        try:
            whole = self._apply_chat_template([("user", "1"), ("assistant", _MARK)], generate=False)
        except ValueError:
            return None
        return whole.rpartition(_MARK)[2] if _MARK in whole else None

    def token_text(self, token: int) -> str:
        """One token as text, special or not; bytes that are no character alone are shown as the vocabulary spells them."""
        text: str = self._backend.decode([token], skip_special_tokens=False)
        return str(self._backend.id_to_token(token)) if "\N{REPLACEMENT CHARACTER}" in text else text

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._backend.decode(list(ids), skip_special_tokens=True)
        return text

    def _without_specials(self, text: str) -> str:
        for special in self._specials:
            text = text.replace(special, f"{special[0]} {special[1:]}")
        return text

    def _read_frame(self, text: str) -> list[int]:
        ids: list[int] = self._frame_backend.encode(text, add_special_tokens=False).ids
        return ids

    def _chat_prompt(self, message: str, thinking: bool) -> str:
        """What the policy's chat template writes around a user's message, up to the assistant's first token."""
        return self._apply_chat_template([("user", message)], generate=True, thinking=thinking)

    def _apply_chat_template(self, turns: Sequence[tuple[str, str]], *, generate: bool, thinking: bool = False) -> str:
        if self._tokenizer.chat_template is None:
            raise ValueError("the policy's tokenizer has no chat template")
        try:
            text: str = self._tokenizer.apply_chat_template(
                [{"role": role, "content": content} for role, content in turns],
                tokenize=False,
                add_generation_prompt=generate,
                enable_thinking=thinking,
                strftime_now=PROMPT_DATE.strftime,
            )
        except TemplateError as error:
            raise ValueError(f"its chat template refuses a lone user's message: {error}") from error
        return text


_MARK: Final = "{answer}"

_OTHER_TEMPLATES: Final = "save a chat template with the tokenizer, or choose one of " + ", ".join(
    name for name, template in PROMPT_TEMPLATES.items() if not template.chat
)


def _copy_of(tokenizer: PreTrainedTokenizerFast, *, special_tokens_are_text: bool) -> Tokenizer:
    """The Rust tokenizer, copied because the switch would change what its other users see."""
    backend: Tokenizer = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.encode_special_tokens = special_tokens_are_text
    return backend


def _start_of_texts(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The beginning-of-sequence token, if the tokenizer sets it before every text."""
    begin = tokenizer.bos_token_id
    with_specials = tokenizer.backend_tokenizer.encode("a", add_special_tokens=True).ids
    return [begin] if begin is not None and with_specials[:1] == [begin] else []
