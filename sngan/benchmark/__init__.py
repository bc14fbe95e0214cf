"""How fast a step of training is, and what makes it so."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # read when torch is loaded; else each profile announces itself on the terminal
