import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiservice.observe.redaction import HIDDEN, redacted, redacted_text

KID = "abcdefGHIJ12"
REST = "S3cr3t" * 8 + "x"
KEY = f"vpn_{KID}_{REST}"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"bad key {KEY} from x", REST),
        (f"vpnadm_{KID}_{REST}", REST),
        (f"vpn_{REST}", REST),
        ("OPENAI said sk-proj-abcdef123456 is wrong", "abcdef123456"),
        ("Authorization: Bearer abcdef.ghi-123", "abcdef"),
        ("{'authorization': 'Basic dXNlcjpwYXNz'}", "dXNlcjpwYXNz"),
        ("[(b'x-api-key', b'plain-secret')]", "plain-secret"),
        ('{"X-Admin-Key": "plain-secret"}', "plain-secret"),
        ('{\\"x-api-key\\": \\"plain-secret\\"}', "plain-secret"),
        ("api_key=plain-secret&x=1", "plain-secret"),
        ("got bearer plain-secret-token", "plain-secret-token"),
    ],
)
def test_no_key_survives(text, secret):
    assert secret not in redacted_text(text)
    assert HIDDEN in redacted_text(text)


def test_the_public_part_of_our_key_stays():
    assert redacted_text(f"key {KEY} is revoked") == f"key vpn_{KID}_{HIDDEN} is revoked"


@pytest.mark.parametrize("text", ["the task is done", "bearer of news", "vpn_", "sk-1", "key_id 0199-ab"])
def test_plain_words_stay(text):
    assert redacted_text(text) == text


def test_secrets_are_hidden_by_their_name_and_inside_of_values():
    found = redacted({"headers": {"X-API-Key": "abc", "accept": "x"}, "list": [KEY], "n": 3, "ok": True, "no": None})

    assert found == {
        "headers": {"X-API-Key": HIDDEN, "accept": "x"},
        "list": [f"vpn_{KID}_{HIDDEN}"],
        "n": 3,
        "ok": True,
        "no": None,
    }


def test_an_absent_secret_is_seen_to_be_absent():
    assert redacted({"authorization": None}) == {"authorization": None}


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_key_is_found_between_any_text(before, after):
    assert REST not in redacted_text(f"{before}{KEY}{after}")
