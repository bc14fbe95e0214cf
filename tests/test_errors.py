from __future__ import annotations

import pickle

from sngan.errors import UserError


def test_a_message_shows_what_a_terminal_would_obey() -> None:
    error = UserError("name=\x1b[2J\ud800\r: no such é …\nnext")
    assert str(error) == "name=\\x1b[2J\\ud800\\r: no such é …\nnext"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
