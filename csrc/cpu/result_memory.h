// SPDX-License-Identifier: BSD-3-Clause
// Memory of large results: huge pages, and a freed block is kept for the next result.
//
// The system zeroes every page of a fresh mapping when it is first touched, which costs as much as computing what goes
// there. A freed block is therefore kept, its pages marked as free to take (MADV_FREE): the system takes them, without
// writing them anywhere, as soon as memory is short, and until then the next result of about that size finds them in
// place. All functions may be called from any thread. Before a fork what is kept is given back, for parent and child.
// Only Linux is known to do this: elsewhere every size is left to malloc, and the limit stays 0.
#pragma once

#include <cstddef>

namespace logloss {

// Smaller ones are left to malloc. Where log_softmax and softmax of one array are made and dropped together, 4 MiB
// each, malloc gives both back to the system every time: 3.0 to 3.9 ms, here 0.8. One result at a time it keeps up to
// 32 MiB, and a call costs the same either way from 4 MiB on, while at 1 MiB the calls to the system cost 10 % (Zen 4,
// Linux 6.18, glibc 2.36).
constexpr std::size_t kLargeResult = std::size_t{4} << 20;

// Null where there is no memory. A large result begins at a huge page.
void* allocate_result(std::size_t size) noexcept;

// Of `size` bytes now, which start with those that were at `memory`; null, and `memory` as it was, where there is no
// memory.
void* reallocate_result(void* memory, std::size_t size) noexcept;

void free_result(void* memory) noexcept;

// How many bytes may be kept, 0 at first; what exceeds a new limit is given back at once.
void set_kept_limit(std::size_t bytes);
std::size_t kept_limit();
std::size_t kept_bytes();

}  // namespace logloss
