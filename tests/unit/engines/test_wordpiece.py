import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiservice.engines.minilm import embedding_model
from aiservice.engines.wordpiece import WordPiece
from tests.conformance.minilm import WordPieces
from tests.conformance.texts import TEXTS

MANY = 1_000_000


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory) -> list[str]:
    model = embedding_model("minilm", tmp_path_factory.mktemp("data"))
    assert model is not None
    assert model.vocabulary is not None
    return model.vocabulary.read_text(encoding="utf-8").rstrip("\n").split("\n")


@pytest.fixture(scope="module")
def pieces(vocabulary) -> WordPiece:
    return WordPiece(vocabulary)


@pytest.fixture(scope="module")
def reference(vocabulary) -> WordPieces:
    return WordPieces(vocabulary)


# As the tokenizer of the model's makers has them (Hugging Face's tokenizers 0.23.3).
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("Hello, World!", [7592, 1010, 2088, 999]),
        ("unaffable Café", [14477, 20961, 3468, 7668]),
        ("서울", [1461, 30008, 29999, 30014, 30022]),
        ("दिन", [1325, 29877, 29863]),
        ("ΟΔΟΣ", [1169, 29722, 29730, 29733]),
        ("机器a学习", [100, 100, 1037, 1817, 100]),
        ("İ", [1045]),
        ("x" * 101, [100]),
        ("a [SEP] b", [1037, 102, 1038]),
        ("[unused1]", [1031, 15171, 2487, 1033]),
        ("a\x00b\x7fc\u200bd e\xa0f", [5925, 2094, 1041, 1042]),
        ("🥰$€", [100, 1002, 1574]),
    ],
)
def test_the_tokens_are_the_model_s_own(pieces, text, tokens):
    assert pieces.tokens(text, count_max=MANY) == [101, *tokens, 102]


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_many_kinds(pieces, reference, name):
    assert pieces.tokens(TEXTS[name], count_max=MANY) == reference(TEXTS[name])


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("aäß -[]가机\u0301"), max_size=40))
def test_any_text(pieces, reference, text):
    assert pieces.tokens(text, count_max=MANY) == reference(text)


def test_no_more_tokens_than_asked_for(pieces):
    assert len(pieces.tokens("word " * 510, count_max=512)) == 512
    assert pieces.tokens("word " * 511, count_max=512) is None
    assert pieces.tokens("x", count_max=2) is None
