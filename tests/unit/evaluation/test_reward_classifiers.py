"""A classifier from a directory gives each response its own logit, whatever it is batched with; anything else is refused."""

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
)

from thor_ray.evaluation.reward_models import Conversation, RewardModelError
from thor_ray.evaluation.reward_models.classifier import RewardClassifier
from thor_ray.tiny.tokenizer import train_tokenizer

CHAT = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
CONVERSATIONS = [Conversation("What is 3 + 4?", text) for text in ("So 7.", "Let us add.\n" * 9, "8", "No idea. " * 3)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["What is 3 + 4? Let us add. So 7."])


def config(tokenizer: PreTrainedTokenizerFast, labels: int = 1, padded: bool = True) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=400,
        num_labels=labels,
        pad_token_id=tokenizer.pad_token_id if padded else None,
    )


@pytest.fixture
def directory(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A classifier with random weights, saved as one would be shared."""
    torch.manual_seed(0)
    Qwen3ForSequenceClassification(config(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def logit(path: Path, tokenizer: PreTrainedTokenizerFast, text: str) -> float:
    """By transformers, alone and without padding."""
    model = Qwen3ForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
    with torch.no_grad():
        return float(model(torch.tensor([tokenizer(text)["input_ids"]])).logits)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_scores_are_the_logits_of_each_conversation_alone(
    directory: Path, tokenizer: PreTrainedTokenizerFast, batch_size: int
) -> None:
    scores = RewardClassifier(directory, batch_size).scores(CONVERSATIONS)
    alone = [logit(directory, tokenizer, f"{one.question}\n{one.response}") for one in CONVERSATIONS]
    assert scores == pytest.approx(alone, abs=1e-5)
    assert len(set(scores)) == 4


def test_an_encoder_does_not_see_what_is_padded(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """A decoder cannot look ahead; an encoder would read the padding of the longest of its batch."""
    shape = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=400, num_labels=1, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    BertForSequenceClassification(shape).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    together = RewardClassifier(tmp_path, 4).scores(CONVERSATIONS)
    alone = [score for one in CONVERSATIONS for score in RewardClassifier(tmp_path).scores([one])]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len(set(together)) == 4


def test_a_chat_template_is_used_where_there_is_one(directory: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": CHAT}))
    score = RewardClassifier(directory).scores(CONVERSATIONS[:1])
    rendered = "<user>What is 3 + 4?\n<assistant>So 7.\n"
    assert score == pytest.approx([logit(directory, tokenizer, rendered)], abs=1e-5)


def test_a_model_that_knows_no_padding_judges_one_at_a_time(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    Qwen3ForSequenceClassification(config(tokenizer, padded=False)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    scores = RewardClassifier(tmp_path, 8).scores(CONVERSATIONS)
    alone = [logit(tmp_path, tokenizer, f"{one.question}\n{one.response}") for one in CONVERSATIONS]
    assert scores == pytest.approx(alone, abs=1e-5)


def test_a_language_model_is_no_reward_model(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    Qwen3ForCausalLM(config(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(RewardModelError, match=r"no trained classifier: it lacks score\.weight"):
        RewardClassifier(tmp_path)


def test_two_labels_are_no_score(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    Qwen3ForSequenceClassification(config(tokenizer, labels=2)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(RewardModelError, match="2 labels"):
        RewardClassifier(tmp_path)


def test_what_is_no_model_is_named(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(RewardModelError, match="there is no directory"):
        RewardClassifier(tmp_path / "nowhere")
    with pytest.raises(RewardModelError, match="holds no tokenizer"):
        RewardClassifier(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(RewardModelError, match="holds no sequence classifier"):
        RewardClassifier(tmp_path)
    with pytest.raises(ValueError, match="batch_size"):
        RewardClassifier(tmp_path, 0)


def test_what_does_not_fit_the_model_is_refused_rather_than_cut(directory: Path) -> None:
    with pytest.raises(RewardModelError, match="which reads 400"):
        RewardClassifier(directory).scores([Conversation("What?", "7 " * 500)])
