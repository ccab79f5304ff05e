"""BERT's own tokenizer: a text in lower case and without accents, in the longest pieces that the vocabulary has.

llama.cpp has one too, which reads some texts otherwise (Hangul, vowel signs of Indian scripts, long words), so that it
would make other vectors of them than the model's makers do. It takes tokens as well as texts.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

WORD_CHARACTERS_MAX = 100
CONTINUATION = "##"
# Tokens of the model that a text may name; here and there they are more than their letters.
_SPECIAL = re.compile(r"(\[(?:CLS|SEP|PAD|UNK|MASK)\])")
_ASCII_WORD = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
_ASCII_CONTROL = str.maketrans("", "", "".join(map(chr, {*range(0x20), 0x7F} - set(b"\t\n\r"))))
# Each is a word by itself, though no space is around it.
_IDEOGRAPH = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ceaf\U0002f800-\U0002fa1f]")


class WordPiece:
    """Splits texts into the tokens of a vocabulary, whose pieces stand in the order of their numbers."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._ids = {piece: number for number, piece in enumerate(vocabulary)}
        self._length_max = max(map(len, vocabulary))
        self._begin, self._end, self._unknown = (self._ids[name] for name in ("[CLS]", "[SEP]", "[UNK]"))

    def tokens(self, text: str, *, count_max: int) -> list[int] | None:
        """The text's tokens with those that begin and end it; None where they are more than `count_max`."""
        found = [self._begin]
        for row, part in enumerate(_SPECIAL.split(text)):
            if row % 2:
                found.append(self._ids[part])
            else:
                for word in _words(part):
                    found += self._pieces(word)
                    if len(found) >= count_max:
                        return None
        found.append(self._end)
        return found if len(found) <= count_max else None

    def _pieces(self, word: str) -> list[int]:
        if len(word) > WORD_CHARACTERS_MAX:
            return [self._unknown]
        found: list[int] = []
        start, prefix = 0, ""
        while start < len(word):
            for end in range(min(len(word), start + self._length_max), start, -1):
                number = self._ids.get(prefix + word[start:end])
                if number is not None:
                    break
            else:
                return [self._unknown]
            found.append(number)
            start, prefix = end, CONTINUATION
        return found


def _words(text: str) -> Iterator[str]:
    """Words and single punctuation marks."""
    if text.isascii():
        return (word.group() for word in _ASCII_WORD.finditer(text.translate(_ASCII_CONTROL).lower()))
    return iter("".join(_apart(text)).split())


def _apart(text: str) -> Iterator[str]:
    for char in unicodedata.normalize("NFD", text):
        category = unicodedata.category(char)
        if category[0] == "Z" or char in "\t\n\r":
            yield " "
        elif category[0] == "P" or (char < "\x7f" and category[0] == "S") or _IDEOGRAPH.match(char):
            yield f" {char} "
        elif (category[0] != "C" or category == "Cn") and category != "Mn" and char != "\ufffd":
            # By itself: at the end of a word a sigma is no other letter here.
            yield char.lower()
