"""States that were changed, with the checksum of what they have become."""

from typing import Any

from itpipe._engine.checkpoint import _begun, _check, _sorted


def signed(state: Any) -> Any:
    """The state with the checksum of what it has become; where there can be none, with the one that it had."""
    try:
        place = state['entropy'], state['pass'], state['batch'], _sorted(state['position'])
        return {**state, 'check': _check(_begun(state['pipeline'], state['shard']), *place)}
    except Exception:
        return state
