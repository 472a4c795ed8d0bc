// The qemu hypervisor, as far as the core knows it: its name, what it can do and which options gc has for it. The driver
// itself is written in Python: gridcentric.hypervisors.qemu.
#include <gridcentric/drivers.hpp>

namespace gridcentric {
namespace {

constexpr DriverOption qemu_run_options[] = {
    {"--memory", "SIZE", "the VM's memory (default: 256M)"},
    {"--disk", "SIZE", "keep files that the VM writes on a disk of this size (default: in its memory)"},
    {"--init", "PATH",
     "boot the image's init system, such as /sbin/init, and run COMMAND beside it (default: none)"},
    {"--image", "NAME", "the image that the VM boots (gc image ls); default: default"},
    {"--publish", "HERE:THERE", "forward port HERE of 127.0.0.1 to port THERE of the master", true},
    {"--copy", "FROM:TO", "copy a file or folder into the VM first", true},
    {"--outside", nullptr, "the VMs can connect to what this computer can, except its loopback"}};

constexpr DriverOption host_options[] = {
    {"--outside", nullptr, "its VMs can connect to what this computer can, except its loopback"}};

}  // namespace

extern const Driver qemu_driver;
const Driver qemu_driver = {
    .name = "qemu",
    .in_python = true,
    .images = true,
    .can = {.whole_machine = true, .mode = {}, .why = {}},
    .clones = "clones every process of a VM, even a shell script",
    .run_help =
        "boots a VM and runs COMMAND in it, on its own host or on the one that GRIDCENTRIC_HOST names\n"
        "(gc host --hypervisor qemu). A clone is a clone of that VM. Exits when all clones have ended, with\n"
        "COMMAND's exit code in the master. Standard input, output and error are connected to COMMAND, but\n"
        "are not a terminal in the VM.",
    .run_options = qemu_run_options,
    .host_options = host_options,
};

}  // namespace gridcentric
