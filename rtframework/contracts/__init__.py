"""The contract between a server and its clients, as a value, as AsyncAPI and as TypeScript.

Example::

    import json
    from pathlib import Path

    from rtframework.contracts import asyncapi, describe, typescript

    contract = describe(io)
    Path("events.ts").write_text(typescript(contract))
    Path("asyncapi.json").write_text(json.dumps(asyncapi(contract), indent=2))
"""

from .asyncapi import asyncapi
from .model import Argument, Contract, EndpointContract, EventContract, NamespaceContract, describe
from .typescript import typescript

__all__ = [
    "Argument",
    "Contract",
    "EndpointContract",
    "EventContract",
    "NamespaceContract",
    "asyncapi",
    "describe",
    "typescript",
]
