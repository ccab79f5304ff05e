"""The writer of the embedding model, on a small one that is made here."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gguf
import numpy as np
import pytest

from aiservice.server.minilm import piece_of, write

ROOT = Path(__file__).resolve().parents[3]
VOCABULARY = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "##s", "##", "!"]
WIDTH, INNER, POSITIONS, LAYERS = 8, 16, 32, 2
CONFIG = {
    "num_hidden_layers": LAYERS,
    "max_position_embeddings": POSITIONS,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_attention_heads": 2,
    "layer_norm_eps": 1e-12,
    "type_vocab_size": 2,
}
MATRICES = {
    "attention.self.query": (WIDTH, WIDTH),
    "attention.self.key": (WIDTH, WIDTH),
    "attention.self.value": (WIDTH, WIDTH),
    "attention.output.dense": (WIDTH, WIDTH),
    "intermediate.dense": (INNER, WIDTH),
    "output.dense": (WIDTH, INNER),
}


def shapes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(VOCABULARY), WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
        "pooler.dense.weight": (WIDTH, WIDTH),
    }
    for layer in range(LAYERS):
        for name, shape in MATRICES.items():
            found[f"encoder.layer.{layer}.{name}.weight"] = shape
            found[f"encoder.layer.{layer}.{name}.bias"] = shape[:1]
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            found[f"encoder.layer.{layer}.{name}.weight"] = (WIDTH,)
            found[f"encoder.layer.{layer}.{name}.bias"] = (WIDTH,)
    return found


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    return {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes().items()}


@pytest.fixture
def source(tmp_path: Path, weights: dict[str, np.ndarray]) -> Path:
    return made(tmp_path / "source", weights)


def made(folder: Path, weights: dict[str, np.ndarray], dtype: str = "F32") -> Path:
    """A model in Hugging Face's form; a tensor of positions is in front, as in older ones."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    positions = np.arange(POSITIONS, dtype=np.int64)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    content = b""
    for name, array in {"embeddings.position_ids": positions, **weights}.items():
        kind = "I64" if array.dtype == np.int64 else dtype
        header[name] = {
            "dtype": kind,
            "shape": array.shape,
            "data_offsets": [len(content), len(content) + array.nbytes],
        }
        content += array.tobytes()
    head = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + content)
    return folder


def command(source: Path, target: Path) -> list[str]:
    options = (f"--parent={os.getpid()}", f"--source={source}", f"--target={target}")
    return [sys.executable, "-m", "aiservice.server.minilm", *options]


def test_the_weights_are_those_of_the_source(source: Path, weights: dict[str, np.ndarray], tmp_path: Path):
    write(source, tmp_path / "models" / "m.gguf")

    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "models" / "m.gguf").tensors}
    assert len(tensors) == len(weights) - 1
    there = {
        "token_embd.weight": "embeddings.word_embeddings.weight",
        "token_embd_norm.bias": "embeddings.LayerNorm.bias",
    }
    for layer in range(LAYERS):
        there[f"blk.{layer}.ffn_down.weight"] = f"encoder.layer.{layer}.output.dense.weight"
        there[f"blk.{layer}.attn_v.bias"] = f"encoder.layer.{layer}.attention.self.value.bias"
        there[f"blk.{layer}.layer_output_norm.weight"] = f"encoder.layer.{layer}.output.LayerNorm.weight"
    for name, origin in there.items():
        np.testing.assert_allclose(tensors[name].data, weights[origin], rtol=1e-3, atol=1e-6)
    halves = {name for name, tensor in tensors.items() if tensor.tensor_type == gguf.GGMLQuantizationType.F16}
    assert len(halves) == 1 + LAYERS * len(MATRICES)
    assert not halves & {"position_embd.weight", "token_types.weight", "blk.0.attn_q.bias"}
    np.testing.assert_array_equal(
        tensors["position_embd.weight"].data, weights["embeddings.position_embeddings.weight"]
    )


def test_the_facts_are_those_that_llamacpp_asks_for(source: Path, tmp_path: Path):
    write(source, tmp_path / "m.gguf")

    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    facts = {name: field.contents() for name, field in fields.items()}
    assert facts["general.architecture"] == "bert"
    assert (facts["bert.block_count"], facts["bert.context_length"]) == (LAYERS, POSITIONS)
    assert (facts["bert.embedding_length"], facts["bert.feed_forward_length"]) == (WIDTH, INNER)
    assert facts["bert.attention.head_count"] == 2
    assert facts["bert.attention.causal"] is False
    assert facts["bert.attention.layer_norm_epsilon"] == pytest.approx(1e-12)
    assert facts["bert.pooling_type"] == gguf.PoolingType.MEAN
    assert facts["tokenizer.ggml.model"] == "bert"
    assert facts["tokenizer.ggml.token_type_count"] == 2
    assert len(facts["tokenizer.ggml.tokens"]) == len(facts["tokenizer.ggml.token_type"]) == len(VOCABULARY)
    special = {"padding": 0, "unknown": 2, "bos": 3, "seperator": 4, "mask": 5}
    assert {name: facts[f"tokenizer.ggml.{name}_token_id"] for name in special} == special


def test_pieces_of_words_are_told_from_their_beginnings():
    normal = gguf.TokenType.NORMAL

    assert [piece_of(token) for token in VOCABULARY] == [
        ("[PAD]", gguf.TokenType.CONTROL),
        ("[unused0]", gguf.TokenType.UNUSED),
        ("[UNK]", gguf.TokenType.CONTROL),
        ("[CLS]", gguf.TokenType.CONTROL),
        ("[SEP]", gguf.TokenType.CONTROL),
        ("[MASK]", gguf.TokenType.CONTROL),
        ("\u2581one", normal),
        ("s", normal),
        ("\u2581##", normal),
        ("\u2581!", normal),
    ]


def test_a_file_that_is_there_is_left_alone(source: Path, tmp_path: Path):
    target = tmp_path / "m.gguf"
    target.write_bytes(b"there already")

    write(source, target)

    assert target.read_bytes() == b"there already"


def test_weights_of_another_type_are_refused_and_leave_nothing(weights: dict[str, np.ndarray], tmp_path: Path):
    halves = made(tmp_path / "halves", weights, dtype="BF16")

    with pytest.raises(ValueError, match="type BF16 and not F32"):
        write(halves, tmp_path / "models" / "m.gguf")

    assert list((tmp_path / "models").iterdir()) == []


def test_two_at_once_make_one_whole_file(source: Path, tmp_path: Path):
    write(source, tmp_path / "expected.gguf")
    target = tmp_path / "models" / "m.gguf"

    writers = [subprocess.Popen(command(source, target), cwd=ROOT) for _ in range(2)]

    assert [writer.wait(30) for writer in writers] == [0, 0]
    assert target.read_bytes() == (tmp_path / "expected.gguf").read_bytes()
    assert target.stat().st_mode & 0o077 == 0
    assert [path.name for path in target.parent.iterdir()] == ["m.gguf"]


def test_one_that_was_killed_midway_leaves_no_half_file(source: Path, tmp_path: Path):
    target = tmp_path / "models" / "m.gguf"
    target.parent.mkdir()
    # A pipe that nobody reads holds the writer up in the middle.
    os.mkfifo(target.parent / "m.gguf.part")
    writer = subprocess.Popen(command(source, target), cwd=ROOT)
    time.sleep(0.5)
    assert writer.poll() is None
    writer.send_signal(signal.SIGKILL)
    writer.wait(5)
    assert not target.exists()
    (target.parent / "m.gguf.part").unlink()
    (target.parent / "m.gguf.part").write_bytes(b"the first half")

    write(source, target)

    assert gguf.GGUFReader(target).tensors
    assert [path.name for path in target.parent.iterdir()] == ["m.gguf"]
