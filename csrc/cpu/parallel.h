// SPDX-License-Identifier: BSD-3-Clause
// Threads: the only place that knows OpenMP.
#pragma once

#include <cstdint>
#include <functional>

namespace logloss {

bool has_openmp();

// The number of threads that calls may use; at least 1.
void set_num_threads(int threads);
int get_num_threads();

// How many workers to use for `items` independent items of `elements` elements in all: no worker gets fewer than
// about 32 Ki elements, and a forked child of a process that has used threads gets one (libgomp would hang).
int workers_for(std::int64_t items, std::int64_t elements);

// Called now and then from the calling thread while it works; true asks for an early end.
using Interrupted = bool (*)();

// body(item, worker) for every item in [0, items), in any order; worker is in [0, workers). Returns false if
// `interrupted` ended the work early. In every worker the floating-point environment is the default one (rounding to
// nearest, no flushing of subnormals), whatever the calling program has set.
bool parallel_for(std::int64_t items, int workers, Interrupted interrupted,
                  const std::function<void(std::int64_t item, int worker)>& body);

}  // namespace logloss
