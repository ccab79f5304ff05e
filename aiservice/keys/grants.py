"""What a new key may be: within bounds for everyone, and never more than the key that asks for it."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network, ip_network

from aiservice.core.errors import FieldInvalid, NotAllowed
from aiservice.core.settings import LimitSettings
from aiservice.keys.model import PLATFORM_TENANT, SCOPES, TIERS, ApiKey, Caller, KeyRequest
from aiservice.keys.sources import Network

NAME_LENGTH_MAX = 128
LIST_LENGTH_MAX = 100
MODEL_LENGTH_MAX = 256
AMOUNT_MAX = 1_000_000_000
CONCURRENCY_MAX = 100_000
DAYS_MAX = 3_650
OVERLAP_S_MAX = 604_800
HOUR_S = 3_600

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,63}")


def checked(request: KeyRequest) -> KeyRequest:
    """The request with its name cleaned and its networks in one form; raises `FieldInvalid` that names the field."""
    _check_id(request.tenant_id, "tenant_id")
    if request.user_id is not None:
        _check_id(request.user_id, "user_id")
    _check_choice([request.tier], TIERS, "tier")
    _check_choice(request.scopes, SCOPES, "scopes")
    if not request.scopes:
        raise FieldInvalid("scopes is empty; a key needs at least one.", param="scopes")
    _check_list(request.models, "models")
    _check_list(request.allowed_ips, "allowed_ips")
    _check_amount(request.quota_requests_per_hour, AMOUNT_MAX, "quota_requests_per_hour")
    _check_amount(request.tokens_per_hour, AMOUNT_MAX, "tokens_per_hour")
    _check_amount(request.concurrency, CONCURRENCY_MAX, "concurrency")
    _check_amount(request.expires_in_days, DAYS_MAX, "expires_in_days")
    return replace(
        request,
        name=_clean_name(request.name),
        scopes=tuple(dict.fromkeys(request.scopes)),
        allowed_ips=tuple(str(network) for network in _networks(request.allowed_ips)),
    )


def check_overlap(overlap_s: int) -> None:
    """Raises `FieldInvalid` outside of 0..604800."""
    if not 0 <= overlap_s <= OVERLAP_S_MAX:
        raise FieldInvalid(f"overlap_seconds takes 0 to {OVERLAP_S_MAX}.", param="overlap_seconds")


def check_local(request: KeyRequest) -> None:
    """What the built-in caller of development may ask for: anything but power over the platform."""
    if request.tenant_id == PLATFORM_TENANT or "admin" in request.scopes:
        raise NotAllowed("A key of the platform or with the scope admin is made with the admin key.")
    _check_operator_fields(request)


def check_within(request: KeyRequest, *, by: Caller, parent: ApiKey, limits: LimitSettings) -> KeyRequest:
    """What a tenant's key may give away: no tenant but its own, and nothing that it does not have itself.

    Token and concurrency limits are the operator's: they pass on to the new key. Raises `NotAllowed`.
    """
    _check_operator_fields(request)
    inherited = replace(request, tokens_per_hour=by.tokens_per_hour, concurrency=by.concurrency)
    check_not_above(inherited, by=by, parent=parent, limits=limits)
    return inherited


def check_not_above(request: KeyRequest, *, by: Caller, parent: ApiKey, limits: LimitSettings) -> None:
    """Raises `NotAllowed` where the request is for more than the caller's own key may do."""
    if request.tenant_id != by.tenant_id:
        raise NotAllowed(f"This key may make keys for its own tenant only, {by.tenant_id}.")
    if TIERS.index(request.tier) > TIERS.index(by.tier):
        raise NotAllowed(f"This key may make keys up to its own tier only, {by.tier}.")
    missing = [scope for scope in request.scopes if scope not in by.scopes]
    if missing:
        raise NotAllowed(f"This key may give away only scopes that it has; it lacks {', '.join(missing)}.")
    own = requests_per_hour(by.tier, by.quota_requests_per_hour, limits)
    if requests_per_hour(request.tier, request.quota_requests_per_hour, limits) > own:
        raise NotAllowed(f"This key may make keys up to its own quota only; ask for at most {own:g} per hour.")
    if _is_above(request.tokens_per_hour, by.tokens_per_hour) or _is_above(request.concurrency, by.concurrency):
        raise NotAllowed("This key has limits of tokens or concurrency that the other would not have.")
    _check_lists_within(request, parent)


def requests_per_hour(tier: str, quota_requests_per_hour: int | None, limits: LimitSettings) -> float:
    """What a key may ask per hour: its own quota, else its tier's; the free tier's window need not be an hour."""
    if quota_requests_per_hour is not None:
        return quota_requests_per_hour
    window_s = limits.default_rate_window_s if tier == "free" else HOUR_S
    return limits.quota_of(tier) * HOUR_S / window_s


def _check_operator_fields(request: KeyRequest) -> None:
    if request.tokens_per_hour is not None or request.concurrency is not None:
        raise NotAllowed("tokens_per_hour and concurrency are set with the admin key only.")


def _check_lists_within(request: KeyRequest, parent: ApiKey) -> None:
    if parent.models and not (request.models and set(request.models) <= set(parent.models)):
        raise NotAllowed(f"This key may make keys only for its own models: {', '.join(parent.models)}.")
    if parent.allowed_ips:
        own = _networks(parent.allowed_ips)
        asked = _networks(request.allowed_ips)
        if not asked or not all(any(_is_subnet(network, outer) for outer in own) for network in asked):
            raise NotAllowed(f"This key may make keys only for its own addresses: {', '.join(parent.allowed_ips)}.")


def _is_subnet(network: Network, outer: Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(outer, IPv4Network) and network.subnet_of(outer)
    return not isinstance(outer, IPv4Network) and network.subnet_of(outer)


def _is_above(asked: int | None, own: int | None) -> bool:
    """None is without a limit."""
    return own is not None and (asked is None or asked > own)


def _check_id(text: str, param: str) -> None:
    if _ID.fullmatch(text) is None:
        raise FieldInvalid(
            f"{param} takes 1 to 64 letters, digits and . _ @ : - and begins with a letter or digit.", param=param
        )


def _check_choice(values: Sequence[str], choices: Sequence[str], param: str) -> None:
    unknown = [value for value in values if value not in choices]
    if unknown:
        raise FieldInvalid(f"{param} does not take {unknown[0]!r}; it takes {', '.join(choices)}.", param=param)


def _check_list(values: Sequence[str], param: str) -> None:
    is_fit = all(1 <= len(value) <= MODEL_LENGTH_MAX and value.isprintable() for value in values)
    if len(values) > LIST_LENGTH_MAX or not is_fit:
        raise FieldInvalid(
            f"{param} takes at most {LIST_LENGTH_MAX} entries of 1 to {MODEL_LENGTH_MAX} characters.", param=param
        )


def _check_amount(value: int | None, most: int, param: str) -> None:
    if value is not None and not 1 <= value <= most:
        raise FieldInvalid(f"{param} takes a whole number from 1 to {most}.", param=param)


def _networks(texts: Sequence[str]) -> list[Network]:
    try:
        return [ip_network(text, strict=False) for text in texts]
    except ValueError as error:
        raise FieldInvalid(
            "allowed_ips takes addresses and networks, such as 192.0.2.7 or 2001:db8::/32.", param="allowed_ips"
        ) from error


def _clean_name(name: str) -> str:
    """In Unicode's composed form and without the invisible characters that could make two names look alike."""
    composed = unicodedata.normalize("NFC", name)
    clean = "".join(character for character in composed if unicodedata.category(character) != "Cf").strip()
    if not 1 <= len(clean) <= NAME_LENGTH_MAX or not clean.isprintable():
        raise FieldInvalid(f"name takes 1 to {NAME_LENGTH_MAX} printable characters.", param="name")
    return clean
