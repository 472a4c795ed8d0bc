package ca.gridcentric.guest;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.IntConsumer;
import java.util.regex.Pattern;

/**
 * VM fork for Java: request a ticket, clone the running JVM, meet at a barrier, end with a report.
 *
 * <pre>{@code
 * API api = new API();
 * API.Uuid ticket = api.requestTicket(4, 4, 1, 1000);
 * int vmid = api.clone(ticket);            // 0 in the master, 1..4 in the clones
 * if (vmid > 0) api.join("hello from " + vmid);
 * System.out.println(api.waitFor(ticket, -1));
 * }</pre>
 *
 * <p>Times are milliseconds: 0 tries once, a negative time waits forever. An object has no state: there may be one or many, used by any
 * thread at any time. All errors are {@link GridcentricException}s, which are unchecked. Any call that asks the host may throw
 * {@link HostUnreachableException}, {@link InterruptedByCloneException} (another thread cloned the domain while the call was open; only in the
 * clones) and {@link ProtocolException}.
 *
 * <p>{@link Thread#interrupt()} ends a call that waits, with {@link InterruptedCallException}. Called in a virtual thread, a call waits in a
 * platform thread, and the virtual thread gives its carrier back. Cancelling the future of an {@code ...Async} method cancels its call.
 *
 * <p>A clone has all threads of its master. docs/java.md says what it lacks, and what is made anew in it.
 */
public class API {
    /** The name of a ticket. */
    public static final class Uuid {
        private static final Pattern FORM = Pattern.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}");
        private final String text;

        Uuid(String text) {
            this.text = text;
        }

        /**
         * The ticket of this name.
         *
         * @param text the 36 characters of a UUID in lower case
         * @return the ticket
         * @throws InvalidArgumentException for any other text
         */
        public static Uuid fromString(String text) {
            if (text == null || !FORM.matcher(text).matches()) {
                String shown = text == null || text.length() <= 60 ? text : text.substring(0, 57) + "...";
                throw new InvalidArgumentException("the ticket is '" + shown
                        + "', expected the 36 characters of a UUID in lower case, as requestTicket returned it");
            }
            return new Uuid(text);
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Uuid that && text.equals(that.text);
        }

        @Override
        public int hashCode() {
            return text.hashCode();
        }

        /** {@return the 36 characters of the UUID} */
        @Override
        public String toString() {
            return text;
        }
    }

    private static volatile boolean identityKnown; // then it is answered from memory

    /** Loads the native library. The first call starts a private host unless {@code GRIDCENTRIC_HOST} names one. */
    public API() {
        Native.text(new byte[0]);
    }

    /**
     * Reserves CPUs for clones: the largest multiple of {@code mincpuspervm} that is free and at most {@code maxcpus}, as soon as it is enough
     * for {@code minvms} clones. Until then it waits in line, first come, first served.
     *
     * @param maxcpus the most CPUs wanted
     * @param minvms the fewest clones wanted
     * @param mincpuspervm CPUs of each clone
     * @param timeout milliseconds
     * @return the ticket
     * @throws InvalidArgumentException a count is below 1, or more than the host has
     * @throws TimedOutException the CPUs were not free in time
     * @throws CloneFailedException the host lacks descriptors for that many clones
     */
    public Uuid requestTicket(int maxcpus, int minvms, int mincpuspervm, int timeout) {
        return Calls.call(requesting(maxcpus, minvms, mincpuspervm, timeout));
    }

    /**
     * {@link #requestTicket} in another thread.
     *
     * @param maxcpus the most CPUs wanted
     * @param minvms the fewest clones wanted
     * @param mincpuspervm CPUs of each clone
     * @param timeout milliseconds
     * @return the ticket to come
     */
    public CompletableFuture<Uuid> requestTicketAsync(int maxcpus, int minvms, int mincpuspervm, int timeout) {
        return Calls.async(requesting(maxcpus, minvms, mincpuspervm, timeout));
    }

    private static Calls.Work<Uuid> requesting(int maxcpus, int minvms, int mincpuspervm, int timeout) {
        return call -> new Uuid(Native.requestTicket(call, maxcpus, minvms, mincpuspervm, timeout));
    }

    /**
     * Gives back a ticket that was not used.
     *
     * @param ticket one of this domain's
     * @throws NoSuchTicketException there is none of this name
     * @throws NotYourTicketException another domain requested it
     * @throws TicketUsedException it has been cloned with
     */
    public void releaseTicket(Uuid ticket) {
        String name = nameOf(ticket);
        Calls.run(call -> Native.releaseTicket(call, name));
    }

    /**
     * Shortens the pause of the next {@link #clone(Uuid)} of a JVM with hundreds of megabytes: moves its memory into huge pages, while the JVM
     * goes on. {@code GRIDCENTRIC_PREPARE=1} in the environment does the same whenever a ticket has been granted. gc-guest.h says what it costs.
     *
     * @param timeout milliseconds
     * @return how many MiB are in huge pages: 0 where that is not possible
     */
    public int prepare(int timeout) {
        return Calls.call(call -> Native.prepare(call, timeout));
    }

    /** {@return the family's tickets in the order of request, the master's own first} */
    public List<TicketInfo> listTickets() {
        return List.of(Calls.call(Native::listTickets));
    }

    /**
     * One ticket.
     *
     * @param ticket one of the family's
     * @return what the host knows of it
     * @throws NoSuchTicketException there is none of this name
     */
    public TicketInfo ticketInfo(Uuid ticket) {
        String name = nameOf(ticket);
        return Calls.call(call -> Native.ticketInfo(call, name));
    }

    /**
     * Makes the ticket's clones of this JVM, all or none. In each clone the handlers of {@link #onClone} run before it returns.
     *
     * @param ticket a reserved one of this domain's
     * @return 0 in the caller, the positive vmid in each clone
     * @throws NoSuchTicketException there is none of this name
     * @throws NotYourTicketException another domain requested it
     * @throws TicketUsedException it has been cloned with
     * @throws CloneFailedException no clone was made, and the ticket can be used again; the message says why
     * @throws NotSupportedException this process cannot be cloned ({@link #explain()}), or {@code GRIDCENTRIC_STRICT} is set and something repeats
     */
    public int clone(Uuid ticket) {
        String name = nameOf(ticket);
        return Calls.call(call -> Handlers.clone(call, name));
    }

    /**
     * {@link #clone(Uuid)} in another thread.
     *
     * @param ticket a reserved one of this domain's
     * @return in the caller 0, in each clone its vmid
     */
    public CompletableFuture<Integer> cloneAsync(Uuid ticket) {
        String name = nameOf(ticket);
        return Calls.async(call -> Handlers.clone(call, name));
    }

    /**
     * Orders another domain of the family, which listens for orders, to clone itself.
     *
     * @param vmid which domain
     * @param ticket a reserved one of this domain's; it then belongs to the ordered domain
     * @return the clones
     * @throws NotSupportedException the domain does not listen: see {@link #serve()}
     */
    public List<Domain> cloneOf(int vmid, Uuid ticket) {
        String name = nameOf(ticket);
        return List.of(Calls.call(call -> Native.cloneOf(call, vmid, name)));
    }

    /** Listens for orders from now on, here and in clones; a thread of the library carries them out as {@link #clone(Uuid)} would. */
    public void serve() {
        Calls.run(Native::serve);
    }

    /**
     * The number of this domain in its family, from memory.
     *
     * @return 0 in the master, a positive number in a clone
     */
    public int vmid() {
        if (identityKnown) return Native.vmid(0);
        int vmid = Calls.call(Native::vmid);
        identityKnown = true;
        return vmid;
    }

    /**
     * Whether this domain is the master, from memory.
     *
     * @return false in a clone
     */
    public boolean isMaster() {
        return vmid() == 0;
    }

    /**
     * The address of this domain, from memory.
     *
     * @return a numeric address
     */
    public String myIp() {
        vmid();
        return Native.myIp(0);
    }

    /**
     * The family's living domains, by vmid.
     *
     * @return all of them
     */
    public List<Domain> listDomains() {
        return List.of(Calls.call(Native::listDomains));
    }

    /** {@link #sync(int)}, for as long as it takes. */
    public void sync() {
        sync(-1);
    }

    /**
     * In a clone: meets the other clones of its ticket and the domain that cloned them.
     *
     * @param timeout milliseconds
     * @throws TimedOutException somebody did not come in time
     * @throws BarrierBrokenException another member timed out, or has ended
     */
    public void sync(int timeout) {
        Calls.call(syncing(null, timeout));
    }

    /**
     * Meets the clones of a ticket, and the domain that cloned them.
     *
     * @param ticket one that this domain has cloned with, or was made from
     * @param timeout milliseconds
     * @throws TimedOutException somebody did not come in time
     * @throws BarrierBrokenException another member timed out, or has ended
     */
    public void sync(Uuid ticket, int timeout) {
        Calls.call(syncing(nameOf(ticket), timeout));
    }

    /**
     * {@link #sync(Uuid, int)} in another thread.
     *
     * @param ticket one that this domain has cloned with; null: the one that it was made from
     * @param timeout milliseconds
     * @return completed when all have met
     */
    public CompletableFuture<Void> syncAsync(Uuid ticket, int timeout) {
        return Calls.async(syncing(ticket == null ? null : ticket.toString(), timeout));
    }

    private static Calls.Work<Void> syncing(String ticket, int timeout) {
        return call -> {
            Native.sync(call, ticket, timeout);
            return null;
        };
    }

    /**
     * Ends this clone and hands a report to the domain that made it. {@code System.out} and {@code System.err} are flushed; shutdown hooks
     * do not run. Returns only by an exception.
     *
     * @param report at most 1 MiB
     * @throws InvalidArgumentException this is the master, or report is null
     * @throws TooLargeException the report is too large, or too many reports wait to be read
     */
    public void join(byte[] report) {
        if (report == null) throw new InvalidArgumentException("report is null, expected bytes; joinNoReport() ends without a report");
        end(report.clone());
    }

    /**
     * {@link #join(byte[])} with a text, as UTF-8.
     *
     * @param report a text of at most 1 MiB
     */
    public void join(String report) {
        if (report == null) throw new InvalidArgumentException("report is null, expected a text; joinNoReport() ends without a report");
        end(report.getBytes(StandardCharsets.UTF_8));
    }

    /** Ends this clone without a report: see {@link #join(byte[])}. */
    public void joinNoReport() {
        end(null);
    }

    private static void end(byte[] report) {
        Handlers.flush();
        Calls.run(call -> Native.join(call, report));
    }

    /**
     * Waits until all clones of a ticket have ended. ({@code wait} is a method of {@link Object}.)
     *
     * @param ticket one that this domain has cloned with
     * @param timeout milliseconds
     * @return how each has ended, by vmid
     * @throws TimedOutException a clone still runs
     * @throws InvalidArgumentException the ticket has not been cloned with
     */
    public List<Result> waitFor(Uuid ticket, int timeout) {
        return Calls.call(waiting(nameOf(ticket), timeout, false));
    }

    /**
     * {@link #waitFor}, and the host forgets the ticket and its reports: for a master that clones for a long time.
     *
     * @param ticket one that this domain has cloned with
     * @param timeout milliseconds
     * @return how each has ended, by vmid
     */
    public List<Result> waitForAndForget(Uuid ticket, int timeout) {
        return Calls.call(waiting(nameOf(ticket), timeout, true));
    }

    /**
     * {@link #waitFor} in another thread.
     *
     * @param ticket one that this domain has cloned with
     * @param timeout milliseconds
     * @return how each has ended, by vmid
     */
    public CompletableFuture<List<Result>> waitForAsync(Uuid ticket, int timeout) {
        return Calls.async(waiting(nameOf(ticket), timeout, false));
    }

    private static Calls.Work<List<Result>> waiting(String ticket, int timeout, boolean forget) {
        return call -> List.of(Native.waitFor(call, ticket, timeout, forget));
    }

    /**
     * Ends a clone of the family.
     *
     * @param vmid which
     * @throws InvalidArgumentException it is the master
     * @throws NoSuchDomainException there is no such clone
     */
    public void kill(int vmid) {
        Calls.run(call -> Native.kill(call, vmid));
    }

    /** {@return whether this JVM can be cloned here, and what clones will lack; nothing is stopped or changed} */
    public Explanation explain() {
        return Native.explain();
    }

    /**
     * Runs a handler in each clone, in the thread that called clone, before clone returns there; handlers run in the order of
     * registration. What it throws goes to the thread's uncaught exception handler, and the clone goes on. It cannot be removed.
     *
     * @param handler is given the vmid
     */
    public void onClone(IntConsumer handler) {
        Handlers.addInClone(handler);
    }

    /**
     * Runs a handler in the thread that calls clone, before the host is asked and any thread is stopped: to flush what each clone would
     * write again, or to close what clones must not have. What it throws leaves clone, and no clone is made. It cannot be removed.
     *
     * @param handler runs before each clone
     */
    public void beforeClone(Runnable handler) {
        Handlers.addBefore(handler);
    }

    private static String nameOf(Uuid ticket) {
        if (ticket == null) throw new InvalidArgumentException("ticket is null, expected what requestTicket returned");
        return ticket.toString();
    }
}
