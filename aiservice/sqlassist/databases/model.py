"""A registered database as it is stored."""

import msgspec


class Registered(msgspec.Struct, frozen=True):
    """`sealed_url` is a nonce of 12 bytes and the address under AES-GCM; `created_at_us` microseconds."""

    tenant_id: str
    name: str
    sealed_url: bytes
    created_at_us: int
