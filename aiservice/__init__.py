"""AI Service: a gateway to language models, SQL assist and an app builder."""

__version__ = "0.1.0"
