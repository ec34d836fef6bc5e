#include "binding/file.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "binding/arrays.hpp"
#include "file/bitmask.hpp"
#include "file/bits.hpp"
#include "file/packed.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace pruneofa {
namespace {

template <class T>
using OutVector = nb::ndarray<T, nb::numpy, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using OutMatrix = nb::ndarray<T, nb::numpy, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

file::Turn turn_named(const std::string& name) {
  if (name == "none") return file::Turn::kNone;
  if (name == "shift128") return file::Turn::kShift128;
  if (name == "sign_last") return file::Turn::kSignLast;
  throw std::invalid_argument("turn '" + name.substr(0, 80) + "' is unknown; allowed are none, shift128, sign_last");
}

template <class T>
void decode_packed(const Vector<uint8_t>& tables, const Vector<uint16_t>& stream,
                   const std::optional<Matrix<uint8_t>>& planes, const std::optional<Vector<float>>& scales,
                   const std::string& turn, const OutMatrix<T>& dense) {
  const file::Turn turned = turn_named(turn);
  if (scales && (scales->shape(0) != dense.shape(0) || sizeof(T) != 1)) {
    throw std::invalid_argument("scales are of the rows of an int8 matrix, one for each");
  }
  const file::PackedMatrix packed{tables.data(),
                                  tables.shape(0),
                                  stream.data(),
                                  stream.shape(0),
                                  planes.has_value(),
                                  planes ? planes->data() : nullptr,
                                  planes ? planes->shape(0) : 0,
                                  planes ? planes->shape(1) : 0,
                                  scales ? scales->data() : nullptr};
  const nb::gil_scoped_release unlocked;
  file::decode_packed(packed, dense.shape(0), dense.shape(1), turned, dense.data());
}

template <class T>
void decode_bitmask(const Vector<T>& elements, const Matrix<uint8_t>& mask, const Vector<int64_t>& row_offsets,
                    const OutMatrix<T>& dense, const OutVector<int64_t>& counts) {
  const std::size_t rows = dense.shape(0), columns = dense.shape(1);
  if (mask.shape(0) != rows || mask.shape(1) != file::bytes_of(columns) || row_offsets.shape(0) != rows ||
      counts.shape(0) != rows) {
    throw std::invalid_argument("the parts of a bit-mask matrix do not have the shapes that the matrix asks for");
  }
  const file::BitmaskMatrix<T> matrix{elements.data(), elements.shape(0), mask.data(), row_offsets.data()};
  const nb::gil_scoped_release unlocked;
  file::decode_bitmask(matrix, rows, columns, dense.data(), counts.data());
}

template <class T>
void bind_packed(nb::module_& m) {
  m.def("decode_packed", &decode_packed<T>, "tables"_a.noconvert(), "stream"_a.noconvert(),
        "planes"_a.noconvert().none(), "scales"_a.noconvert().none(), "turn"_a, "dense"_a.noconvert());
}

template <class T>
void bind_bitmask(nb::module_& m) {
  m.def("decode_bitmask", &decode_bitmask<T>, "elements"_a.noconvert(), "mask"_a.noconvert(),
        "row_offsets"_a.noconvert(), "dense"_a.noconvert(), "counts"_a.noconvert());
}

}  // namespace

void bind_file(nb::module_& m) {
  bind_packed<uint8_t>(m);
  bind_packed<uint16_t>(m);
  bind_packed<uint32_t>(m);
  bind_bitmask<uint8_t>(m);
  bind_bitmask<uint16_t>(m);
  bind_bitmask<uint32_t>(m);
  bind_bitmask<uint64_t>(m);
}

}  // namespace pruneofa
