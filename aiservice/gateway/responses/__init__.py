"""Responses that their callers asked to have stored, and those that are made in the background.

A response is stored under its tenant for RESPONSES_TTL_DAYS with all that was said before it, so that the next one
goes on from it by one look, also when earlier ones were deleted. What is deleted or has expired is gone from the
database; a copy of what was said lives on in the later responses of the conversation.

A background response is made by a job of the worker that took it: it runs on when its client leaves, and ends when it
is cancelled or deleted through any worker (within a second). When that worker stops or dies the response has failed:
at once, or when its lease of 30 s lapses. A response that cannot be stored is refused with 503, though its answer was
made and metered.
"""

from aiservice.gateway.responses.job import Job, Work
from aiservice.gateway.responses.model import Ending, Name, Status, StoredResponse
from aiservice.gateway.responses.port import ResponseStore
from aiservice.gateway.responses.service import Responses

__all__ = ["Ending", "Job", "Name", "ResponseStore", "Responses", "Status", "StoredResponse", "Work"]
