// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/stl.h>

#include "bindings/bind.h"
#include "cpu/dispatch.h"
#include "cpu/parallel.h"

namespace logloss {

void bind_runtime(pybind11::module_& module) {
  module.def("isa", [] { return kernels().isa; });
  module.def("available_isas", &available_isas);
  module.def("has_openmp", &has_openmp);
  module.def("set_num_threads", &set_num_threads);
  module.def("get_num_threads", &get_num_threads);
  module.attr("__version__") = LOGLOSS_VERSION;
}

}  // namespace logloss
