import ca.gridcentric.guest.API;
import ca.gridcentric.guest.CloneFailedException;
import ca.gridcentric.guest.GridcentricException;
import ca.gridcentric.guest.InterruptedCallException;
import ca.gridcentric.guest.InvalidArgumentException;
import ca.gridcentric.guest.Result;
import ca.gridcentric.guest.TooLargeException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;

/** What Java adds to the calls: interrupts, futures, virtual threads, handlers, its own exceptions. */
public final class Calls {
    private static final API GUEST = Family.GUEST;

    public static void main(String[] args) throws Exception {
        interrupts(Thread::new);
        futures();
        if (Runtime.version().feature() >= 21) {
            ThreadFactory virtual = (ThreadFactory) Class.forName("java.lang.Thread$Builder").getMethod("factory")
                    .invoke(Thread.class.getMethod("ofVirtual").invoke(null));
            interrupts(virtual);
            virtualThreads(virtual);
        }
        errors();
        handlers();
    }

    private static void interrupts(ThreadFactory threads) throws Exception {
        API.Uuid ticket = GUEST.requestTicket(1, 1, 1, 0);
        if (GUEST.clone(ticket) > 0) {
            GUEST.sync(-1); // until the master has interrupted
            GUEST.joinNoReport();
        }
        for (boolean before : List.of(false, true)) {
            AtomicReference<Throwable> failure = new AtomicReference<>();
            AtomicBoolean kept = new AtomicBoolean(), begun = new AtomicBoolean();
            Thread thread = threads.newThread(() -> {
                if (before) Thread.currentThread().interrupt();
                begun.set(true);
                try {
                    GUEST.waitFor(ticket, -1);
                } catch (Throwable thrown) {
                    kept.set(Thread.currentThread().isInterrupted());
                    failure.set(thrown);
                }
            });
            thread.start();
            while (!begun.get()) Thread.onSpinWait();
            thread.interrupt();
            thread.join();
            Family.check(failure.get() instanceof InterruptedCallException, "an interrupted call fails with " + failure.get());
            Family.check(kept.get(), "the thread is still interrupted");
        }
        Thread.currentThread().interrupt();
        try {
            GUEST.sync(ticket, -1);
            throw new AssertionError("an interrupted thread's call does not fail");
        } catch (InterruptedCallException expected) {
            Family.check(Thread.interrupted(), "the thread is still interrupted");
            Family.checkEqual(expected.code(), "cancelled", "its code");
        }
        GUEST.sync(ticket, -1);
        Family.checkEqual(GUEST.waitFor(ticket, -1).get(0).how(), Result.End.JOINED, "the clone's end");
    }

    private static void futures() throws Exception {
        API.Uuid ticket = GUEST.requestTicketAsync(1, 1, 1, 0).get();
        CompletableFuture<Integer> cloning = GUEST.cloneAsync(ticket);
        if (cloning.get() > 0) {
            GUEST.syncAsync(null, -1).get();
            GUEST.join("from a future");
        }
        CompletableFuture<List<Result>> given_up = GUEST.waitForAsync(ticket, -1), kept = GUEST.waitForAsync(ticket, -1);
        Family.check(given_up.cancel(true) && given_up.isCancelled(), "a future can be cancelled");
        GUEST.syncAsync(ticket, -1).join();
        Family.checkEqual(kept.get().get(0).reportText(), "from a future", "the report");
        try {
            GUEST.requestTicketAsync(0, 1, 1, 0).join();
            throw new AssertionError("a future does not fail");
        } catch (CompletionException failed) {
            Family.check(failed.getCause() instanceof InvalidArgumentException, "a future's error is " + failed.getCause());
        }
    }

    /** Many of them wait, more than there are carriers, and others still run. */
    private static void virtualThreads(ThreadFactory threads) throws Exception {
        API.Uuid ticket = GUEST.requestTicket(1, 1, 1, 0);
        if (GUEST.clone(ticket) > 0) {
            GUEST.sync(-1);
            GUEST.join("waited for");
        }
        List<Thread> waiting = new ArrayList<>();
        AtomicReference<String> said = new AtomicReference<>("");
        for (int at = 0; at < 4 * Runtime.getRuntime().availableProcessors(); ++at) {
            Thread thread = threads.newThread(() -> {
                try {
                    said.set(GUEST.waitFor(ticket, -1).get(0).reportText());
                } catch (GridcentricException failed) {
                    if (GUEST.isMaster()) throw failed; // in a clone the ticket is its master's
                }
            });
            thread.start();
            waiting.add(thread);
        }
        AtomicReference<Integer> vmid = new AtomicReference<>();
        Thread cloner = threads.newThread(() -> {
            API.Uuid own = GUEST.requestTicket(1, 1, 1, 0);
            int mine = GUEST.clone(own);
            if (mine > 0) GUEST.join("by a virtual thread");
            vmid.set(mine);
            Family.checkEqual(GUEST.waitFor(own, -1).get(0).reportText(), "by a virtual thread", "the report");
        });
        cloner.start();
        cloner.join();
        Family.checkEqual(vmid.get(), 0, "clone() in a virtual thread");
        GUEST.sync(ticket, -1);
        for (Thread thread : waiting) thread.join();
        Family.checkEqual(said.get(), "waited for", "the report");
    }

    private static void errors() {
        expect("invalid_argument", () -> GUEST.requestTicket(0, 1, 1, 0));
        expect("invalid_argument", () -> GUEST.clone(null));
        expect("invalid_argument", () -> GUEST.join((byte[]) null));
        expect("invalid_argument", () -> GUEST.onClone(null));
        expect("invalid_argument", () -> GUEST.beforeClone(null));
        expect("invalid_argument", () -> API.Uuid.fromString("é"));
        expect("no_such_ticket", () -> GUEST.ticketInfo(API.Uuid.fromString("00000000-0000-4000-8000-000000000000")));
        expect("no_such_domain", () -> GUEST.kill(77));
        byte[] report = new byte[1 << 20];
        report[0] = (byte) 0xff;
        List<String> codes = Family.clones(1, () -> {
            expect("too_large", () -> GUEST.join(new byte[report.length + 1]));
            return "";
        });
        Family.checkEqual(codes, List.of(""), "codes");
        API.Uuid ticket = GUEST.requestTicket(1, 1, 1, 0);
        if (GUEST.clone(ticket) > 0) GUEST.join(report);
        Family.check(java.util.Arrays.equals(GUEST.waitFor(ticket, -1).get(0).report(), report), "a report of 1 MiB");
        Family.check(new TooLargeException("x") instanceof GridcentricException, "a common parent");
    }

    private static void expect(String code, Runnable call) {
        try {
            call.run();
        } catch (GridcentricException error) {
            Family.checkEqual(error.code(), code, error.getMessage());
            return;
        }
        throw new AssertionError("expected " + code);
    }

    private static void handlers() {
        List<String> said = new ArrayList<>();
        AtomicBoolean refuse = new AtomicBoolean(true);
        GUEST.beforeClone(() -> {
            said.add("before");
            if (refuse.get()) throw new IllegalStateException("not now");
        });
        GUEST.onClone(vmid -> said.add("first " + vmid));
        GUEST.onClone(vmid -> {
            throw new IllegalArgumentException("a handler's");
        });
        GUEST.onClone(vmid -> said.add("last, and isMaster " + GUEST.isMaster()));
        API.Uuid ticket = GUEST.requestTicket(1, 1, 1, 0);
        try {
            GUEST.clone(ticket);
            throw new AssertionError("a handler's exception does not leave clone()");
        } catch (IllegalStateException expected) {
            Family.checkEqual(expected.getMessage(), "not now", "the handler's own exception");
        }
        refuse.set(false);
        List<Throwable> uncaught = new ArrayList<>();
        Thread.currentThread().setUncaughtExceptionHandler((thread, thrown) -> uncaught.add(thrown));
        if (GUEST.clone(ticket) > 0) GUEST.join(said + " " + uncaught.get(0).getMessage());
        Family.checkEqual(GUEST.waitFor(ticket, -1).get(0).reportText(),
                "[before, before, first 1, last, and isMaster false] a handler's".replace("first 1", "first " + GUEST.waitFor(ticket, -1).get(0).vmid()),
                "what handlers did in the clone");
        Family.checkEqual(said, List.of("before", "before"), "what handlers did in the master");
        expect("ticket_used", () -> GUEST.clone(ticket));
        Family.check(new CloneFailedException("x").code().equals("clone_failed"), "codes");
    }
}
