"""The clock of programs: CLOCK_MONOTONIC in ns, unless the loader says otherwise.

Programs read the word CLOCK first. In a policy that runs it is zero and lies in a frozen map, so the verifier
takes it for the constant it is and removes the way that would use it. A loader that tests leaves the map
writable and puts the time there: the same object, another clock.
"""

from __future__ import annotations

CLOCK = "clock"
CLOCK_SECTION = f".rodata.{CLOCK}"
CLOCK_BYTES = 8
