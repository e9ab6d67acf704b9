# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks: every operation against its peers and against the memory bandwidth of the machine.

Run ``python -m bench --quick`` from the root of the repository. A new operation is one file
``bench_<operation>.py`` with a list ``OPERATIONS``: the inputs, a reference and a formula per peer,
from which ``builders.py`` makes the calls; see ``bench_cross_entropy.py``.
"""
