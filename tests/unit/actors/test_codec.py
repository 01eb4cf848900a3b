"""Prompts reach the policy as its tokenizer and chat template have them, and a question is text whatever it quotes."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from actors.codec import TokenizerCodec
from thor_ray.dialogue import PROMPT_TEMPLATES, render_prompt
from thor_ray.errors import UserError

CHAT_MARKUP = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}"""
INSTRUCTION_MARKUP = "{{ bos_token }}[INST] {{ messages[0]['content'] }} [/INST]"
OPEN_THINKING = "<|im_start|>user\n{{ messages[0]['content'] }}<|im_end|>\n<|im_start|>assistant\n<think>\n"
DATED = "Today is {{ strftime_now('%d %b %Y') }}.\n{{ messages[0]['content'] }}\n"

CHAT = sorted(name for name, template in PROMPT_TEMPLATES.items() if template.chat)
PLAIN = sorted(set(PROMPT_TEMPLATES) - set(CHAT))
QUESTIONS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text(
    " \n\t<|im_start>think/[INST]é1", max_size=40
)


def byte_level(chat_template: str | None) -> PreTrainedTokenizerFast:
    """Bytes, chat markup as special tokens and thinking markup as ordinary ones, as Qwen3 has them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([template.text for template in PROMPT_TEMPLATES.values()], trainer)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=chat_template
    )


def sentence_piece() -> PreTrainedTokenizerFast:
    """Spaces as part of words, and a token that begins every text, as Llama 2 has them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    specials = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=specials, initial_alphabet=list(string.printable))
    tokenizer.train_from_iterator([template.text for template in PROMPT_TEMPLATES.values()], trainer)
    begin = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", begin)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=INSTRUCTION_MARKUP,
    )


TOKENIZERS = {"byte level": byte_level(CHAT_MARKUP), "sentence piece": sentence_piece()}
CODECS = {name: TokenizerCodec(tokenizer) for name, tokenizer in TOKENIZERS.items()}


def quotes_special(tokenizer: PreTrainedTokenizerFast, text: str) -> bool:
    return any(str(token) in text for token in tokenizer.all_special_tokens)


@pytest.mark.parametrize("template", CHAT)
@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@given(question=QUESTIONS)
def test_a_chat_prompt_is_what_the_tokenizer_itself_would_make_of_it(name, template, question):
    tokenizer, found = TOKENIZERS[name], PROMPT_TEMPLATES[template]
    if quotes_special(tokenizer, question):
        return
    message = found.text.replace("{question}", question)
    expected = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}],
        add_generation_prompt=True,
        enable_thinking=found.thinking,
        return_dict=False,
    )
    ids = CODECS[name].encode_prompt(template, question)
    assert ids[: len(expected)] == expected
    rest = tokenizer.decode(ids[len(expected) :])
    assert rest == ("<think>\n" if found.thinking else "")


@pytest.mark.parametrize("template", PLAIN)
@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@given(question=QUESTIONS)
def test_a_plain_prompt_begins_as_any_text_does_for_the_tokenizer(name, template, question):
    tokenizer = TOKENIZERS[name]
    if not quotes_special(tokenizer, question):
        assert CODECS[name].encode_prompt(template, question) == tokenizer.encode(render_prompt(template, question))


@pytest.mark.parametrize("template", sorted(PROMPT_TEMPLATES))
@given(before=QUESTIONS, after=QUESTIONS, quoted=st.sampled_from(["<|im_end|>", "<|im_start|>", "<|endoftext|>"]))
def test_a_question_that_quotes_a_special_token_stays_text(template, before, after, quoted):
    tokenizer, codec = TOKENIZERS["byte level"], CODECS["byte level"]
    question = f"{before}{quoted}{after}"
    ids = codec.encode_prompt(template, question)
    without = codec.encode_prompt(template, "1 + 1?")
    special = set(tokenizer.all_special_ids)
    assert [token for token in ids if token in special] == [token for token in without if token in special]
    assert tokenizer.decode(ids) == codec.prompt_frame(template).around(question)


def test_thinking_is_opened_once_whoever_opens_it():
    assert TokenizerCodec(byte_level(OPEN_THINKING)).prompt_frame("reasoning").after.count("<think>") == 1
    assert CODECS["byte level"].prompt_frame("reasoning").after.endswith("<|im_start|>assistant\n<think>\n")
    assert CODECS["byte level"].prompt_frame("chat").after.endswith("assistant\n<think>\n\n</think>\n\n")


def test_the_day_of_the_year_changes_no_prompt():
    assert TokenizerCodec(byte_level(DATED)).prompt_frame("chat").before.startswith("Today is 26 Jul 2024.\n")


@pytest.mark.parametrize(
    ("chat_template", "fault"),
    [
        (None, "the policy's tokenizer has no chat template"),
        ("{{ raise_exception('a system message is needed') }}", "refuses a lone user's message: a system message"),
        ("{{ messages[0]['content'] | upper }}", "does not repeat the user's message once, word for word"),
        ("{{ messages[0]['content'] }}{{ messages[0]['content'] }}", "does not repeat the user's message once"),
    ],
)
def test_a_chat_template_that_cannot_be_used_is_refused(chat_template, fault):
    codec = TokenizerCodec(byte_level(chat_template))
    with pytest.raises(UserError, match="choose one of bare, tir, cot") as refusal:
        codec.encode_prompt("chat", "1 + 1?")
    assert fault in refusal.value.message
    assert codec.encode_prompt("tir", "1 + 1?")


def test_tokens_are_shown_as_text_or_as_the_vocabulary_spells_them():
    codec = CODECS["byte level"]
    assert [codec.token_text(token) for token in codec.encode_prompt("bare", "é")] == ["Ã", "©", "\n"]
    assert "<|im_end|>" in [codec.token_text(token) for token in codec.encode_prompt("chat", "1")]
