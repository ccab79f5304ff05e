"""What every storey stands on: settings, errors, ids, clock and the types that travel.

Imports the standard library and pydantic, nothing of ours. Holds no state and touches no
outside system except the environment and secret files, which `settings.load` reads once.
"""
