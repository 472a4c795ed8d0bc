import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** A clone knows its pid, has its own performance counters, and leaves the file of its master's when it exits. */
public final class ProcessFacts {
    public static void main(String[] args) throws Exception {
        Family.checkEqual(ProcessHandle.current().pid(), realPid(), "the master's pid");
        Path counters = Path.of(System.getProperty("java.io.tmpdir"), "hsperfdata_" + System.getProperty("user.name"), "" + realPid());
        boolean counted = Files.exists(counters);
        Family.clones(2, () -> {
            Family.checkEqual(ProcessHandle.current().pid(), realPid(), "a clone's pid");
            Family.checkEqual(ManagementFactory.getRuntimeMXBean().getPid(), realPid(), "a clone's pid for management");
            Family.check(ProcessHandle.current().isAlive(), "a clone takes itself for dead");
            List<String> mapped = Files.readAllLines(Path.of("/proc/self/maps"));
            Family.check(mapped.stream().noneMatch(line -> line.contains("/hsperfdata_")), "a clone counts in its master's file");
            return "";
        });
        var ticket = Family.GUEST.requestTicket(1, 1, 1, 0);
        if (Family.GUEST.clone(ticket) > 0) System.exit(7);
        Family.checkEqual(Family.GUEST.waitFor(ticket, -1).get(0).status(), 7, "a clone's exit code");
        Family.checkEqual(Files.exists(counters), counted, "the master's counters are there after a clone's exit");
    }

    // Of the domain, in its own namespace: the last number.
    private static long realPid() throws Exception {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (!line.startsWith("NSpid:")) continue;
            String[] ids = line.trim().split("\\s+");
            return Long.parseLong(ids[ids.length - 1]);
        }
        throw new AssertionError("no NSpid");
    }
}
