"""Generations: the number of a load, and the one word that says which load is in force.

Every program carries the number of the load it came with (`OWN`, a constant that the loader fills in) and
reads the word `NOW`, which all programs of a policy share. Equal: the program judges. Not equal: it hands the
packet to its predecessor at the same hook, the only slot of its array `PREVIOUS`, and judges itself when that
slot is empty. So a policy's hooks are given new programs one after the other without anything changing, and
one store into the word then changes all of them at once (`runtime.swap`, docs/adr/0008).

In the object both are zero and the slots are empty: loaders that know nothing of this run the programs as
they are. An array of its own for each program, because the kernel wants all programs of one array to be of
one attach type (kernel/bpf/core.c, __bpf_prog_map_compatible), and connect4 and connect6 are not.
"""

from __future__ import annotations

NOW, OWN, PREVIOUS = "generation_now", "generation_own", "previous"
NOW_SECTION, OWN_SECTION = f".data.{NOW}", f".rodata.{OWN}"
WORD_BYTES = 4
SLOT = 0  # the predecessor's place in PREVIOUS
BPF_MAP_TYPE_PROG_ARRAY = 3
