#include <stdexcept>
#include <string>

#include "kernels/attention_scratch.hpp"
#include "kernels/kernels.hpp"

namespace pruneofa {

#if defined(__x86_64__)
extern const Kernels kAvx512Bf16Kernels;
extern const Kernels kAvx512VnniKernels;
extern const Kernels kAvx2Kernels;
#elif defined(__aarch64__)
extern const Kernels kNeonDotprodKernels;
#endif
extern const Kernels kPortableKernels;

namespace {

// Best first.
const Kernels* const kAll[] = {
#if defined(__x86_64__)
    &kAvx512Bf16Kernels,
    &kAvx512VnniKernels,
    &kAvx2Kernels,
#elif defined(__aarch64__)
    &kNeonDotprodKernels,
#endif
    &kPortableKernels,
};

std::string names(bool supported_only) {
  std::string text;
  for (const Kernels* kernels : kAll) {
    if (supported_only && !kernels->is_supported()) continue;
    text += text.empty() ? kernels->name : std::string(", ") + kernels->name;
  }
  return text;
}

}  // namespace

std::size_t attention_scratch_bytes(uint32_t head_size, uint32_t key_end) {
  return AttentionScratch(head_size, key_end).bytes;
}

const Kernels* const* all_kernels(std::size_t& count) {
  count = sizeof(kAll) / sizeof(kAll[0]);
  return kAll;
}

const Kernels& select_kernels(const char* name) {
  const std::string wanted = name == nullptr ? "" : name;
  for (const Kernels* kernels : kAll) {
    if (wanted.empty() ? kernels->is_supported() : wanted == kernels->name) {
      if (kernels->is_supported()) return *kernels;
      throw std::invalid_argument("kernel '" + wanted +
                                  "' needs instructions that this machine does not offer; it supports " + names(true));
    }
  }
  throw std::invalid_argument("kernel '" + wanted.substr(0, 80) + "' is unknown; this build has " + names(false));
}

}  // namespace pruneofa
