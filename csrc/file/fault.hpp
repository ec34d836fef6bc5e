// Faults of a compressed tensor: std::invalid_argument, with the words that the Python reader uses too.
#pragma once

#include <stdexcept>
#include <string>

namespace pruneofa::file {

inline constexpr const char* kDamaged = "; the file is damaged; copy or compress it again";

[[noreturn]] inline void damaged(const std::string& what) { throw std::invalid_argument(what + kDamaged); }

}  // namespace pruneofa::file
