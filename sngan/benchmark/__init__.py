"""How fast a training step is, and what each technique adds to the speed."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # read when torch is loaded; else each profile announces itself on the terminal
