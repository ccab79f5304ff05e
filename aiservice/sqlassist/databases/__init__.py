"""Which databases of others SQL assist may read: registered by the operator, each for one tenant, by a name.

The address, which has a password, is sealed before it is stored, with a key that comes from KEY_PEPPER; a name and its
tenant are sealed in with it, so that an address cannot be moved to another row. While the store is away a name cannot
be looked up: `StoreUnavailable`, 503.
"""

from aiservice.sqlassist.databases.model import Registered
from aiservice.sqlassist.databases.port import DatabaseStore
from aiservice.sqlassist.databases.service import Databases

__all__ = ["DatabaseStore", "Databases", "Registered"]
