// The decoders of compressed tensors, for Python.
#pragma once

#include <nanobind/nanobind.h>

namespace pruneofa {

void bind_file(nanobind::module_& m);

}  // namespace pruneofa
