package ca.gridcentric.guest;

import java.nio.charset.StandardCharsets;

/**
 * The functions of the native library, one for each call of gc-guest.h. A {@code call} is a gc_call_t, or 0. All throw what {@link Errors}
 * makes. It must not know: what a call means, or how a thread waits for one.
 */
final class Native {
    static {
        NativeLibrary.load();
    }

    private Native() {}

    static String text(byte[] utf8) {
        return new String(utf8, StandardCharsets.UTF_8);
    }

    static GridcentricException error(String code, byte[] message) {
        return Errors.of(code, text(message));
    }

    static native long newCall();

    static native void cancel(long call);

    static native void freeCall(long call);

    static native String requestTicket(long call, int maxcpus, int minvms, int mincpuspervm, int timeout);

    static native void releaseTicket(long call, String ticket);

    static native int prepare(long call, int timeout);

    static native TicketInfo[] listTickets(long call);

    static native TicketInfo ticketInfo(long call, String ticket);

    static native int clone(long call, String ticket);

    static native Domain[] cloneOf(long call, int vmid, String ticket);

    static native void serve(long call);

    static native int vmid(long call);

    static native String myIp(long call);

    static native Domain[] listDomains(long call);

    /** ticket null: the one that this clone was made from. */
    static native void sync(long call, String ticket, int timeout);

    /** report null: none. Returns only by an exception. */
    static native void join(long call, byte[] report);

    static native Result[] waitFor(long call, String ticket, int timeout, boolean forget);

    static native void kill(long call, int vmid);

    static native Explanation explain();

    /** From now on {@link Handlers#runBefore()} runs before each clone. */
    static native void runHandlersBefore();
}
