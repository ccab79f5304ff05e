"""all-MiniLM-L6-v2 in numpy, weights and vocabulary as its package has them: what llama.cpp's vectors have to be."""

import json
import re
import unicodedata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

LAYERS, HEADS, WIDTH, EPSILON = 6, 12, 384, 1e-12
TOKENS_MAX = 512
WORD_CHARACTERS_MAX = 100
SPECIAL = re.compile(r"(\[(?:CLS|SEP|PAD|UNK|MASK)\])")
CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPieces:
    """The tokenizer: words in lower case without accents, split into the longest pieces of the vocabulary."""

    def __init__(self, vocabulary: list[str]) -> None:
        self._ids = {piece: number for number, piece in enumerate(vocabulary)}

    def __call__(self, text: str) -> list[int]:
        parts = SPECIAL.split(text)  # every second one is a special token
        pieces = [
            [self._ids[part]] if row % 2 else [piece for word in words_of(part) for piece in self._pieces(word)]
            for row, part in enumerate(parts)
        ]
        return [self._ids["[CLS]"], *(piece for some in pieces for piece in some), self._ids["[SEP]"]]

    def _pieces(self, word: str) -> list[int]:
        unknown = [self._ids["[UNK]"]]
        if len(word) > WORD_CHARACTERS_MAX:
            return unknown
        found, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self._ids), None)
            if end is None:
                return unknown
            found.append(self._ids[prefix + word[start:end]])
            start = end
        return found


def words_of(text: str) -> list[str]:
    """Words and single punctuation marks."""
    kept = "".join(" " if char in "\t\n\r" else char for char in text if char in "\t\n\r" or is_said(char))
    spaced = "".join(f" {char} " if is_cjk(char) else char for char in kept)
    bare = "".join(char for char in unicodedata.normalize("NFD", spaced) if unicodedata.category(char) != "Mn")
    lower = "".join(char.lower() for char in bare)  # alone, so that no sigma is a final one
    apart = "".join(f" {char} " if is_punctuation(char) else char for char in lower)
    return apart.split()


def is_said(char: str) -> bool:
    return char != "\ufffd" and unicodedata.category(char) not in {"Cc", "Cf", "Co", "Cs"}


def is_cjk(char: str) -> bool:
    return any(low <= ord(char) <= high for low, high in CJK)


def is_punctuation(char: str) -> bool:
    is_ascii = char.isascii() and char.isprintable() and not char.isalnum() and char != " "
    return is_ascii or unicodedata.category(char)[0] == "P"


class MiniLm:
    """The model of a folder with model.safetensors and vocab.txt."""

    def __init__(self, folder: Path) -> None:
        self.tokens_of = WordPieces((folder / "vocab.txt").read_text(encoding="utf-8").splitlines())
        self._weights = read_safetensors(folder / "model.safetensors")

    def vector(self, text: str) -> Array:
        """Its vector of length 1."""
        tokens = self.tokens_of(text)
        assert len(tokens) <= TOKENS_MAX, len(tokens)
        at = self._weights
        state = (
            at["embeddings.word_embeddings.weight"][tokens]
            + at["embeddings.position_embeddings.weight"][: len(tokens)]
            + at["embeddings.token_type_embeddings.weight"][0]
        )
        state = self._normalised("embeddings.LayerNorm", state)
        for layer in range(LAYERS):
            state = self._layer(f"encoder.layer.{layer}", state)
        mean = state.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def _layer(self, name: str, state: Array) -> Array:
        query, key, value = (
            self._linear(f"{name}.attention.self.{part}", state).reshape(len(state), HEADS, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(np.float32(WIDTH // HEADS))
        attended = (softmax(scores) @ value).transpose(1, 0, 2).reshape(len(state), WIDTH)
        state = self._normalised(
            f"{name}.attention.output.LayerNorm", state + self._linear(f"{name}.attention.output.dense", attended)
        )
        inner = gelu(self._linear(f"{name}.intermediate.dense", state))
        return self._normalised(f"{name}.output.LayerNorm", state + self._linear(f"{name}.output.dense", inner))

    def _linear(self, name: str, state: Array) -> Array:
        return state @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _normalised(self, name: str, state: Array) -> Array:
        centred = state - state.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(EPSILON))
        return scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def gelu(values: Array) -> Array:
    """With the error function itself, which numpy has not: summed by Abramowitz and Stegun 7.1.26 (error 1.5e-7)."""
    x = np.abs(values) / np.sqrt(np.float32(2))
    t = 1 / (1 + 0.3275911 * x)
    series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    erf = np.sign(values) * (1 - series * np.exp(-(x**2)))
    return (values * (1 + erf) / 2).astype(np.float32)


def read_safetensors(path: Path) -> dict[str, Array]:
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    rows = json.loads(content[8:begin])
    return {
        name: np.frombuffer(content[begin + first : begin + end], "<f4").reshape(row["shape"])
        for name, row in rows.items()
        if row.get("dtype") == "F32"
        for first, end in [row["data_offsets"]]
    }
