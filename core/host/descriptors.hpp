// What the host can still open. A process that has reached its limit can serve nobody, so clones are promised only as far as the
// descriptors go. Knows the limits of this process; nothing of clones.
#pragma once
#include <cstdint>

namespace gridcentric::host {

// The soft limit of this process (ulimit -n).
std::int64_t descriptor_limit();
// How many it may still open. `known`: open ones that the caller knows of; as long as these are few, with `wanted` more, the
// others are not counted.
std::int64_t free_descriptors(std::int64_t known, std::int64_t wanted);

}  // namespace gridcentric::host
