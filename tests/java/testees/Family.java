import ca.gridcentric.guest.API;
import ca.gridcentric.guest.Result;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import java.util.concurrent.Callable;

/** What the testees share: clones that do something and report it. A failure in a clone fails the master. */
final class Family {
    static final API GUEST = new API();

    private Family() {}

    /** What each clone's work returns, by vmid. */
    static List<String> clones(int count, Callable<String> work) {
        API.Uuid ticket = GUEST.requestTicket(count, count, 1, 0);
        int vmid = GUEST.clone(ticket);
        if (vmid > 0) GUEST.join(outcome(work));
        List<Result> results = GUEST.waitForAndForget(ticket, -1);
        for (Result result : results) {
            check(result.how() == Result.End.JOINED, result.toString());
            check(result.reportText().startsWith("ok "), "clone " + result.vmid() + " " + result.reportText());
        }
        return results.stream().map(result -> result.reportText().substring(3)).toList();
    }

    private static String outcome(Callable<String> work) {
        try {
            return "ok " + work.call();
        } catch (Throwable thrown) {
            StringWriter trace = new StringWriter();
            thrown.printStackTrace(new PrintWriter(trace));
            return "failed: " + trace;
        }
    }

    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    static void checkEqual(Object found, Object expected, String what) {
        check(expected.equals(found), what + ": " + found + ", expected " + expected);
    }
}
