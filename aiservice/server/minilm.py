"""Writes all-MiniLM-L6-v2, which a Python package carries as safetensors, as the GGUF file that llama.cpp serves.

Run as `python -m aiservice.server.minilm` by the embedded engine's process where the file is missing: a process of its
own, so that no other holds numpy for good. It reads any BERT encoder in Hugging Face's form.
"""

import argparse
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from aiservice.core.lifeline import die_with

ARCHITECTURE = "bert"
SPECIAL_TOKENS = frozenset({"[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"})
UNUSED_TOKEN = "[unused"  # noqa: S105  # how such a piece begins
CONTINUATION = "##"
WORD_BEGIN = "\u2581"
EMBEDDINGS: Mapping[str, str] = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
LAYER: Mapping[str, str] = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
# Small, and added up rather than multiplied.
KEPT_SINGLE = frozenset({"position_embd.weight", "token_types.weight"})
Weights = NDArray[np.float16 | np.float32]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="aiservice.server.minilm", description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="process whose death ends this one")
    parser.add_argument("--source", type=Path, required=True, help="folder with model.safetensors and its vocabulary")
    parser.add_argument("--target", type=Path, required=True, help="GGUF file to be made")
    options = parser.parse_args(arguments)
    die_with(options.parent)
    os.umask(0o077)
    write(options.source, options.target)


def write(source: Path, target: Path) -> None:
    """Makes `target` unless it is there; it is whole or missing at any moment, also with several writers at once.

    Matrices have half precision, which moves no vector by more than llama.cpp's own arithmetic does, and halves the
    file. Raises `OSError` when it cannot be written, `ValueError` for weights of another type than float32.
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(target.parent):
        if target.exists():
            return
        part = target.with_name(f"{target.name}.part")
        try:
            _write(source, part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Waits for its turn. The kernel gives the lock back when this process ends, however it does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(source: Path, path: Path) -> None:
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    vocabulary = (source / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    _add_facts(writer, config)
    _add_vocabulary(writer, vocabulary)
    names = tensor_names(config["num_hidden_layers"])
    for name, weights in _tensors(source / "model.safetensors"):
        # The pooler is left out: the vector is the mean of the last layer, not what it makes of the first token.
        if name in names:
            writer.add_tensor(names[name], _in_half(names[name], weights))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _add_facts(writer: gguf.GGUFWriter, config: Mapping[str, Any]) -> None:
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_token_type_count(config["type_vocab_size"])


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Sequence[str]) -> None:
    pieces = [piece_of(token) for token in vocabulary]
    writer.add_tokenizer_model(ARCHITECTURE)
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text for text, _ in pieces])
    writer.add_token_types([kind for _, kind in pieces])
    ids = {token: number for number, token in enumerate(vocabulary) if token in SPECIAL_TOKENS}
    writer.add_bos_token_id(ids["[CLS]"])
    writer.add_sep_token_id(ids["[SEP]"])
    writer.add_pad_token_id(ids["[PAD]"])
    writer.add_unk_token_id(ids["[UNK]"])
    writer.add_mask_token_id(ids["[MASK]"])


def piece_of(token: str) -> tuple[str, gguf.TokenType]:
    """A token of WordPiece as llama.cpp has it: there what begins a word is marked, here what goes on with one."""
    if token in SPECIAL_TOKENS:
        return token, gguf.TokenType.CONTROL
    if token.startswith(UNUSED_TOKEN):
        return token, gguf.TokenType.UNUSED
    if token.startswith(CONTINUATION) and token != CONTINUATION:
        return token.removeprefix(CONTINUATION), gguf.TokenType.NORMAL
    return WORD_BEGIN + token, gguf.TokenType.NORMAL


def tensor_names(layers: int) -> dict[str, str]:
    """The names of all tensors there, and what they are called here."""
    stems = dict(EMBEDDINGS)
    for layer in range(layers):
        stems |= {f"encoder.layer.{layer}.{there}": f"blk.{layer}.{here}" for there, here in LAYER.items()}
    return {f"{there}.{kind}": f"{here}.{kind}" for there, here in stems.items() for kind in ("weight", "bias")}


def _tensors(path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Name and content of each tensor of a safetensors file, read from the disk as they are used."""
    content = np.memmap(path, np.uint8, "r")
    begin = 8 + int.from_bytes(content[:8].tobytes(), "little")
    for name, row in json.loads(content[8:begin].tobytes()).items():
        if name == "__metadata__" or name.endswith("position_ids"):
            continue
        if row["dtype"] != "F32":
            raise ValueError(f"{path} has weights of the type {row['dtype']} and not F32: {name}")
        first, end = row["data_offsets"]
        yield name, content[begin + first : begin + end].view("<f4").reshape(row["shape"])


def _in_half(name: str, weights: NDArray[np.float32]) -> Weights:
    return weights if weights.ndim < 2 or name in KEPT_SINGLE else weights.astype(np.float16)


if __name__ == "__main__":
    main()
