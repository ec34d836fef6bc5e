// Arrays of numpy that the module reads: contiguous, on the CPU, not copied.
#pragma once

#include <nanobind/ndarray.h>

namespace pruneofa {

template <class T>
using Vector =
    nanobind::ndarray<const T, nanobind::numpy, nanobind::ndim<1>, nanobind::c_contig, nanobind::device::cpu>;
template <class T>
using Matrix =
    nanobind::ndarray<const T, nanobind::numpy, nanobind::ndim<2>, nanobind::c_contig, nanobind::device::cpu>;

}  // namespace pruneofa
