"""Threads of OpenMP that wait sleep, as it is said before torch is imported.

Else they spin, and where tests run beside each other one training of 0.6 s costs 20 s of a core.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
