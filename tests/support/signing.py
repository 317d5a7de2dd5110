"""States that were changed, with the checksum of what they have become."""

from typing import Any

from itpipe._engine.state_checks import Position, checksum, in_written_order


def signed(state: Any) -> Any:
    """The state with the checksum of what it has become; where there can be none, with the one that it had."""
    try:
        position = Position(state['entropy'], state['pass'], state['batch'], in_written_order(state['position']))
        return {**state, 'check': checksum(state['pipeline'], state.get('data', ''), state['shard'])(position)}
    except Exception:
        return state
