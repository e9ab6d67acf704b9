# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks: every operation against its peers and against the memory bandwidth of the machine.

Run ``python -m bench --quick`` from the root of the repository. The scorecard it prints has a line
for each case of each operation, and a line for each target, which says whether it is met.

A new operation is one file ``bench_<operation>.py`` with a list ``OPERATIONS``: the inputs, a
reference, a formula per peer, from which ``builders.py`` makes the calls, and the targets; see
``bench_cross_entropy.py``. ``operation.py`` says what such a file declares, ``harness.py`` times,
``yardsticks.py`` has what targets compare beside peers, ``verdicts.py`` judges, ``report.py``,
``picture.py`` and ``readme.py`` show the outcome.
"""
