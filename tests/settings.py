"""Settings as tests want them, without reading an environment."""

from pathlib import Path

from aiservice.core.settings import ServerSettings, Settings


def embedded_in(data_dir: Path) -> Settings:
    """The embedded default: everything in files of this folder."""
    return Settings(server=ServerSettings(data_dir=data_dir))
