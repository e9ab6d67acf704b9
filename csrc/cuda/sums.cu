// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/sums.h"

#include "cuda/launch.h"

namespace logloss::LOGLOSS_LEVEL {
namespace {

constexpr int kThreads = 256;
static_assert(kSumStateBytes == sizeof(SumState) && kTargetReportBytes == sizeof(TargetReport));

template <class Index>
void launch_class_rows(const ClassRowsCall& call, Stream stream) {
  TargetReport* const report = static_cast<TargetReport*>(call.report);
  launch(class_rows_kernel<Index>, blocks_of_alike(call.n, kThreads), kThreads, 0, stream,
         static_cast<const Index*>(call.target), call.n, call.classes, call.ignores, call.ignore_index, call.rows,
         report);
  launch(name_bad_target<Index>, 1, 1, 0, stream, static_cast<const Index*>(call.target), report);
}

}  // namespace

void clear_sum_state(void* sum, Stream stream) { set_bytes(sum, 0, kSumStateBytes, stream); }

void class_rows(const ClassRowsCall& call, Stream stream) {
  TargetReport* const report = static_cast<TargetReport*>(call.report);
  set_bytes(&report->valid, 0, sizeof report->valid, stream);
  set_bytes(&report->first_bad, 0xff, sizeof report->first_bad, stream);
  if (call.n == 0) return;
  switch (call.type) {
    case IndexType::int8:
      return launch_class_rows<std::int8_t>(call, stream);
    case IndexType::int16:
      return launch_class_rows<std::int16_t>(call, stream);
    case IndexType::int32:
      return launch_class_rows<std::int32_t>(call, stream);
    case IndexType::int64:
      return launch_class_rows<std::int64_t>(call, stream);
    case IndexType::uint8:
      return launch_class_rows<std::uint8_t>(call, stream);
    case IndexType::uint16:
      return launch_class_rows<std::uint16_t>(call, stream);
    case IndexType::uint32:
      return launch_class_rows<std::uint32_t>(call, stream);
    case IndexType::uint64:
      return launch_class_rows<std::uint64_t>(call, stream);
  }
}

void weight_of_rows(DType dtype, const void* weight, const std::int64_t* rows, std::int64_t n, std::int64_t classes,
                    void* sum, Stream stream) {
  const std::int64_t blocks = blocks_of_alike(n, kThreads);
  SumState* const total = static_cast<SumState*>(sum);
  if (dtype == DType::float64) {
    launch(weight_of_rows_kernel<double>, blocks, kThreads, sizeof(SumState), stream,
           static_cast<const double*>(weight), rows, n, classes, total);
  } else {
    launch(weight_of_rows_kernel<float>, blocks, kThreads, sizeof(SumState), stream, static_cast<const float*>(weight),
           rows, n, classes, total);
  }
}

void finish_sum(const void* numerator, const void* denominator, const void* count, double divisor, const double* factor,
                double* out, Stream stream) {
  launch(finish_sum_kernel, 1, 1, 0, stream, static_cast<const SumState*>(numerator),
         static_cast<const SumState*>(denominator), static_cast<const TargetReport*>(count), divisor, factor, out);
}

}  // namespace logloss::LOGLOSS_LEVEL
