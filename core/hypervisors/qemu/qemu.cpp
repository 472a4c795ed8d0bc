// The qemu hypervisor, as far as the core knows it: its name, what it can do and what gc offers for it. The driver itself is
// Python: gridcentric.hypervisors.qemu.
#include <gridcentric/drivers.hpp>

namespace gridcentric {
namespace {

constexpr DriverOption run_options[] = {
    {"--memory", "SIZE", "the VM's memory (default: 256M)"},
    {"--disk", "SIZE", "files that the VM writes go to a disk of this size (default: to its memory)"},
    {"--init", "PATH",
     "boot the image's init system, as /sbin/init, and run COMMAND beside it (default: none)"},
    {"--image", "NAME", "what the VM boots (gc image ls); default: default"},
    {"--publish", "HERE:THERE", "lead port HERE of 127.0.0.1 to THERE of the master", true},
    {"--copy", "FROM:TO", "copy a file or folder into the VM first", true},
    {"--outside", nullptr, "the VMs reach what this machine reaches, but not its loopback"}};

constexpr DriverOption host_options[] = {
    {"--outside", nullptr, "its VMs reach what this machine reaches, but not its loopback"}};

}  // namespace

extern const Driver qemu_driver;
const Driver qemu_driver = {
    .name = "qemu",
    .in_python = true,
    .images = true,
    .can = {.whole_machine = true, .mode = {}, .why = {}},
    .clones = "clones every process of a machine, a shell script's too",
    .run_help =
        "boots a VM and runs COMMAND in it, on a host of its own or on the one GRIDCENTRIC_HOST names "
        "(gc host --hypervisor\n"
        "qemu). A clone is a clone of that VM. The exit code is COMMAND's in the master, when all "
        "clones have ended. Standard input,\n"
        "output and errors are carried; they are no terminal in the VM.",
    .run_options = run_options,
    .host_options = host_options,
};

}  // namespace gridcentric
